-- ARGV: prefix, job, profile, name, options. 1 when it was not there.
local job = open(ARGV[2])
if job.status then return 0 end

redis.call('HSET', job.key,
  'status', 'pending', 'name', ARGV[4], 'profile', ARGV[3],
  'total_chunks', 0, 'completed_chunks', 0, 'total_frames', 0, 'completed_frames', 0,
  'attempts', 0, 'created_at', now, 'updated_at', now, 'options', ARGV[5], 'version', 1)
-- One of the same id that has expired may still be on the lists, and its keys may have been evicted
-- one by one.
clear(job)

-- Greater than that of any other job, also when the clock steps back: the newest comes first.
local newest = redis.call('ZREVRANGE', prefix .. 'jobs', 0, 0, 'WITHSCORES')[2]
local place = math.max(now, newest and newest + 1 or 0)
redis.call('ZADD', prefix .. 'jobs', place, job.id)
redis.call('ZADD', prefix .. 'jobs:pending', place, job.id)
trim()
return 1
