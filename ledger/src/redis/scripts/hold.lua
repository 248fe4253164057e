-- ARGV: prefix, name, worker, ttl. 1 when the name is the worker's.
local name, worker, ttl = ARGV[2], ARGV[3], tonumber(ARGV[4])
local held = redis.call('HGET', prefix .. 'holds', name)
if held then
  local by, expires = string.match(held, '^(%S+) (%d+)$')
  if by ~= worker and tonumber(expires) > now then return 0 end
end
if ttl > 0 then
  redis.call('HSET', prefix .. 'holds', name, string.format('%s %.0f', worker, now + ttl))
else
  redis.call('HDEL', prefix .. 'holds', name)
end
return 1
