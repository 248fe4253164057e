-- ARGV: prefix, job, how many tasks, how many done, then task and frames of each, then those that
-- are done, then those that are retired.
local job = open(ARGV[2])
if not job.status then return { 'unknown' } end

local last_named = 4 + 2 * ARGV[3]
local last_done = last_named + ARGV[4]
local tasks = job.key .. ':tasks'
local changed = false

for i = 5, last_named, 2 do
  local task, frames = ARGV[i], ARGV[i + 1]
  local may_be_claimed = task == 'ingest' or task == 'finalize'
  if not may_be_claimed and redis.call('HSETNX', tasks, task, frames) == 1 then
    -- Nobody can have done anything with it, so there is no more to add up. Plans are long.
    add(job, 'total_chunks', 1)
    add(job, 'total_frames', tonumber(frames))
    changed = true
  else
    local state = redis.call('HGET', tasks, task)
    if not state or state == 'done' then
      change(job, task, function()
        redis.call('HSET', tasks, task, state and frames .. ' done' or frames)
      end)
      changed = true
    end
  end
end

-- Stays, so that a task which is named again does not come back.
for i = last_done + 1, #ARGV do
  local task = ARGV[i]
  if redis.call('HGET', tasks, task) ~= 'retired' then
    change(job, task, function()
      redis.call('HSET', tasks, task, 'retired')
      end_lease(job, task)
    end)
    changed = true
  end
end

for i = last_named + 1, last_done do
  changed = mark_done(job, ARGV[i]) or changed
end

save(job)
if changed then touch(job) end
keep_expiry(job)
return completion(job)
