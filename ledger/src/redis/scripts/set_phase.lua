-- ARGV: prefix, job, phase.
local job, phase = open(ARGV[2]), ARGV[3]
if job.status ~= 'running' then return end

local known = redis.call('HMGET', job.key, 'phase', 'phases')
if known[1] == phase then return end
local began = string.format('%s %.0f', phase, now)
redis.call('HSET', job.key,
  'phase', phase, 'phases', known[2] and known[2] .. ', ' .. began or began, 'updated_at', now)
