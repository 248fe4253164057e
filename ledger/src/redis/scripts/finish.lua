-- ARGV: prefix, job, status, how long to know it, then fields and values of its error. The status
-- that it has then.
local job, retention = open(ARGV[2]), tonumber(ARGV[4])
if not job.status or has_ended(job) then return job.status end

redis.call('HSET', job.key, 'updated_at', now, 'ended_at', now)
for i = 5, #ARGV, 2 do redis.call('HSET', job.key, ARGV[i], ARGV[i + 1]) end
redis.call('HDEL', job.key, 'phase')
for _, task in ipairs(redis.call('HKEYS', job.key .. ':leases')) do
  give_back(job, task, 0)
end
save(job)
move(job, ARGV[3])

expire_at(job, now + retention)
redis.call('ZADD', prefix .. 'jobs:expiring', now + retention, job.id)
trim()
return job.status
