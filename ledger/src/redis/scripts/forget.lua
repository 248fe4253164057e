-- ARGV: prefix, job.
local job = open(ARGV[2])
clear(job)
redis.call('UNLINK', job.key)
