-- ARGV: prefix, age. The fields and values of every worker that is not older.
local alive = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'workers', now - ARGV[2], '+inf')) do
  local fields = redis.call('HGETALL', prefix .. 'worker:' .. id)
  fields[#fields + 1] = 'id'
  fields[#fields + 1] = id
  alive[#alive + 1] = fields
end
return alive
