-- ARGV: prefix, job, task, worker, epoch, attempts to give back.
local job, task = open(ARGV[2]), ARGV[3]
local lease = job.status and lease_of(job, task)
if lease and lease.worker == ARGV[4] and lease.epoch == ARGV[5] then
  give_back(job, task, tonumber(ARGV[6]))
  save(job)
end
