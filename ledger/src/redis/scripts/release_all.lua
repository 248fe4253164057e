-- ARGV: prefix, worker.
local worker = ARGV[2]
for _, id in ipairs(redis.call('SMEMBERS', leases_key(worker))) do
  local name, task = string.match(id, '^(.-)/(.+)$')
  local job = open(name)
  local lease = job.status and lease_of(job, task)
  if lease and lease.worker == worker then
    give_back(job, task, 1)
    save(job)
  end
end
redis.call('UNLINK', leases_key(worker))

local holds = redis.call('HGETALL', prefix .. 'holds')
for i = 1, #holds, 2 do
  if string.match(holds[i + 1], '^%S+') == worker then
    redis.call('HDEL', prefix .. 'holds', holds[i])
  end
end
