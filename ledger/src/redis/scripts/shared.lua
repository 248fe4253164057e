-- What the scripts share; it stands before each of them.
--
-- ARGV[1] comes before every key. KEYS[1] is the key that a call is mostly about, for whatever
-- routes by it; the other keys follow from ids, as `mod.rs` says. Of a script that fails nothing is
-- undone, so the first write of each is one that Redis refuses when it is out of memory.

local prefix = ARGV[1]

-- Milliseconds since 1970, by this server's clock.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Of `job:<id>`, beside itself.
local PARTS = { ':tasks', ':attempts', ':epochs', ':leases' }
local STATUSES = { 'pending', 'running', 'completed', 'failed', 'cancelled' }
-- Expired jobs that one call takes off the lists.
local TRIMMED = 1000

-- A job as the scripts handle it; without a status when it is unknown.
local function open(id)
  local key = prefix .. 'job:' .. id
  return { id = id, key = key, status = redis.call('HGET', key, 'status'), changes = {} }
end

local function has_ended(job)
  return job.status == 'completed' or job.status == 'failed' or job.status == 'cancelled'
end

-- The frames of a task that is needed, else nil; and whether it is over: done or retired.
local function look_up(job, task)
  local state = redis.call('HGET', job.key .. ':tasks', task)
  if not state then return nil, false end
  local frames = tonumber(string.match(state, '^%d+'))
  return frames, state == 'retired' or string.find(state, 'done', 1, true) ~= nil
end

local function attempts_of(job, task)
  return tonumber(redis.call('HGET', job.key .. ':attempts', task) or 0)
end

-- The lease on a task, or nil. One that has ended stays until somebody claims the task.
local function lease_of(job, task)
  local text = redis.call('HGET', job.key .. ':leases', task)
  if not text then return nil end
  local worker, epoch, expires, reported = string.match(text, '^(%S+) (%d+) (%d+) (%d+)$')
  return {
    worker = worker, epoch = epoch, expires = tonumber(expires), reported = tonumber(reported),
  }
end

local function leases_key(worker)
  return prefix .. 'worker:' .. worker .. ':leases'
end

local function write_lease(job, task, worker, epoch, ttl, reported)
  local text = string.format('%s %s %.0f %.0f', worker, epoch, now + ttl, reported)
  redis.call('HSET', job.key .. ':leases', task, text)
  redis.call('SADD', leases_key(worker), job.id .. '/' .. task)
end

local function end_lease(job, task)
  local lease = lease_of(job, task)
  if not lease then return end
  redis.call('HDEL', job.key .. ':leases', task)
  redis.call('SREM', leases_key(lease.worker), job.id .. '/' .. task)
end

local function add(job, field, number)
  job.changes[field] = (job.changes[field] or 0) + number
end

-- Adds what a task stands for to the numbers of its job, or with -1 takes it away.
local function tally(job, task, sign)
  local frames, over = look_up(job, task)
  if not frames then return end
  add(job, 'total_chunks', sign)
  add(job, 'total_frames', sign * frames)
  add(job, 'attempts', sign * attempts_of(job, task))
  if over then
    add(job, 'completed_chunks', sign)
    add(job, 'completed_frames', sign * frames)
    return
  end
  local lease = lease_of(job, task)
  if lease then add(job, 'completed_frames', sign * math.min(lease.reported, frames)) end
end

-- Changes a task by a function, and the numbers of its job to what they are then. So no script can
-- make a number wrong, whatever it does to a task.
local function change(job, task, apply)
  tally(job, task, -1)
  apply()
  tally(job, task, 1)
end

-- Writes the numbers that have changed.
local function save(job)
  for field, number in pairs(job.changes) do
    if number ~= 0 then redis.call('HINCRBY', job.key, field, number) end
  end
  job.changes = {}
end

-- Notes that something about a job changed. An ended job keeps the time of its end.
local function touch(job)
  if not has_ended(job) then redis.call('HSET', job.key, 'updated_at', now) end
end

-- Mirrors a marker. Also for a job that has ended: should it be retried, what is done is done.
local function mark_done(job, task)
  local frames, over = look_up(job, task)
  if over then return false end
  change(job, task, function()
    redis.call('HSET', job.key .. ':tasks', task, frames and frames .. ' done' or 'done')
    end_lease(job, task)
  end)
  return true
end

-- Ends a lease before its time and gives back as many attempts.
local function give_back(job, task, refund)
  change(job, task, function()
    local attempts = math.max(attempts_of(job, task) - refund, 0)
    redis.call('HSET', job.key .. ':attempts', task, attempts)
    end_lease(job, task)
  end)
end

local function expire_at(job, at)
  redis.call('PEXPIREAT', job.key, at)
  for _, part in ipairs(PARTS) do redis.call('PEXPIREAT', job.key .. part, at) end
end

-- What was written to a job that has ended goes when the job does.
local function keep_expiry(job)
  if not has_ended(job) then return end
  local left = redis.call('PTTL', job.key)
  if left >= 0 then expire_at(job, now + left) end
end

-- How far the set is, in the words that all callers are told.
local function completion(job)
  if has_ended(job) then return { 'over', job.status } end
  local numbers = redis.call('HMGET', job.key, 'total_chunks', 'completed_chunks')
  -- A job that has no tasks yet has no plan yet.
  local whole = numbers[1] ~= '0' and numbers[1] == numbers[2]
  return { whole and 'whole' or 'partial' }
end

-- Takes a job off every list.
local function unlist(id)
  for _, status in ipairs(STATUSES) do redis.call('ZREM', prefix .. 'jobs:' .. status, id) end
  redis.call('ZREM', prefix .. 'jobs', id)
  redis.call('ZREM', prefix .. 'jobs:expiring', id)
end

-- Takes jobs that have expired off the lists: those keep no entry for ever.
local function trim()
  local before = '(' .. now
  local expired =
    redis.call('ZRANGEBYSCORE', prefix .. 'jobs:expiring', '-inf', before, 'LIMIT', 0, TRIMMED)
  for _, id in ipairs(expired) do unlist(id) end
end

-- Gives a job another status, in its hash and on the lists.
local function move(job, status)
  redis.call('HSET', job.key, 'status', status)
  local place = redis.call('ZSCORE', prefix .. 'jobs', job.id) or now
  redis.call('ZADD', prefix .. 'jobs:' .. status, place, job.id)
  redis.call('ZREM', prefix .. 'jobs:' .. job.status, job.id)
  job.status = status
end

-- A job with all its fields, or nil. Frames of a lease that has ended are not being made any more,
-- though they stay in the hash until the lease is taken over.
local function record(job)
  if not job.status then return nil end
  local fields = redis.call('HGETALL', job.key)
  local idle = 0
  local leases = redis.call('HKEYS', job.key .. ':leases')
  for _, task in ipairs(leases) do
    local lease = lease_of(job, task)
    if lease.expires <= now then
      idle = idle + math.min(lease.reported, look_up(job, task) or 0)
    end
  end
  local answer = { 'id', job.id, 'idle_frames', idle }
  for _, field in ipairs(fields) do answer[#answer + 1] = field end
  return answer
end

-- Forgets all about a job but its hash.
local function clear(job)
  for _, task in ipairs(redis.call('HKEYS', job.key .. ':leases')) do end_lease(job, task) end
  for _, part in ipairs(PARTS) do redis.call('UNLINK', job.key .. part) end
  unlist(job.id)
end
