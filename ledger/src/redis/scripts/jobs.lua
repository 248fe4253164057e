-- ARGV: prefix, status or nothing for all, the job to begin after or nothing, limit. The fields and
-- values of each.
local status, after, limit = ARGV[2], ARGV[3], tonumber(ARGV[4])
trim()

local below = '+inf'
if after ~= '' then
  local place = redis.call('ZSCORE', prefix .. 'jobs', after)
  -- The place of a job that was forgotten is not known any more.
  if not place then return {} end
  below = '(' .. place
end

local list = prefix .. (status == '' and 'jobs' or 'jobs:' .. status)
local page = {}
while #page < limit do
  local found = redis.call(
    'ZREVRANGEBYSCORE', list, below, '-inf', 'WITHSCORES', 'LIMIT', 0, limit - #page)
  if #found == 0 then break end
  for i = 1, #found, 2 do
    local fields = record(open(found[i]))
    -- An ended job may have been evicted before its time.
    if fields then page[#page + 1] = fields else unlist(found[i]) end
  end
  below = '(' .. found[#found]
end
return page
