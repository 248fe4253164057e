-- ARGV: prefix, job, task, worker, ttl, max attempts.
local job, task, worker = open(ARGV[2]), ARGV[3], ARGV[4]
if not job.status then return { 'unknown' } end
if has_ended(job) then return { 'over', job.status } end

local frames, over = look_up(job, task)
if over then return { 'done' } end
if not frames and task ~= 'ingest' and task ~= 'finalize' then
  -- The job is known only in part: whoever rebuilds it names the task, or retires it.
  return { 'unknown' }
end
local lease = lease_of(job, task)
if lease and lease.expires > now then
  return { 'held', string.format('%.0f', lease.expires - now) }
end
local attempts = attempts_of(job, task)
if attempts >= tonumber(ARGV[6]) then return { 'exhausted', tostring(attempts) } end

local last = tonumber(redis.call('HGET', job.key .. ':epochs', task) or 0)
local epoch = string.format('%.0f', math.max(now, last + 1))
change(job, task, function()
  redis.call('HSET', job.key .. ':epochs', task, epoch)
  redis.call('HSET', job.key .. ':attempts', task, attempts + 1)
  end_lease(job, task)
  write_lease(job, task, worker, epoch, tonumber(ARGV[5]), 0)
end)
save(job)
if job.status == 'pending' then move(job, 'running') end
redis.call('HSETNX', job.key, 'started_at', now)
touch(job)
return { 'claimed', epoch, tostring(attempts + 1) }
