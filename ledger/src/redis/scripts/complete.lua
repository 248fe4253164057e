-- ARGV: prefix, job, task.
local job = open(ARGV[2])
if not job.status then return { 'unknown' } end

if mark_done(job, ARGV[3]) then
  save(job)
  touch(job)
  keep_expiry(job)
end
return completion(job)
