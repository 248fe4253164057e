-- ARGV: prefix, ttl, then job, task, worker, epoch and frames of each lease. The places of those
-- that are lost, from 0.
local ttl = tonumber(ARGV[2])
local lost = {}

for i = 3, #ARGV, 5 do
  local job, task, worker, epoch = open(ARGV[i]), ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local frames = tonumber(ARGV[i + 4])
  -- There are no leases of a job that has ended, nor of tasks that are done or retired.
  local lease = job.status and lease_of(job, task)
  if lease and lease.worker == worker and lease.epoch == epoch then
    change(job, task, function() write_lease(job, task, worker, epoch, ttl, frames) end)
    save(job)
    if frames ~= lease.reported then touch(job) end
  else
    lost[#lost + 1] = (i - 3) / 5
  end
end
return lost
