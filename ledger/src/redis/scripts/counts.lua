-- ARGV: prefix. Each status and how many jobs have it.
trim()
local counts = {}
for _, status in ipairs(STATUSES) do
  counts[#counts + 1] = status
  counts[#counts + 1] = redis.call('ZCARD', prefix .. 'jobs:' .. status)
end
return counts
