-- ARGV: prefix, job. 1 when it runs again.
local job = open(ARGV[2])
if job.status ~= 'failed' and job.status ~= 'cancelled' then return 0 end

local chunks = redis.call('HGET', job.key, 'total_chunks')
if chunks ~= '0' and redis.call('EXISTS', job.key .. ':tasks') == 0 then
  -- Keys of ended jobs may be evicted one by one. Whoever asks for the job rebuilds it.
  clear(job)
  redis.call('UNLINK', job.key)
  return 0
end
redis.call('HSET', job.key, 'updated_at', now, 'attempts', 0)
redis.call('HDEL', job.key, 'phases', 'started_at', 'ended_at',
  'error', 'error_code', 'error_detail', 'error_retryable', 'error_task')
redis.call('UNLINK', job.key .. ':attempts')
redis.call('PERSIST', job.key)
for _, part in ipairs(PARTS) do redis.call('PERSIST', job.key .. part) end
redis.call('ZREM', prefix .. 'jobs:expiring', job.id)
move(job, 'running')
return 1
