-- ARGV: prefix, worker, slots, version, ffmpeg, yt-dlp or nothing, after how long to forget others.
local workers = prefix .. 'workers'
redis.call('HSET', prefix .. 'worker:' .. ARGV[2],
  'slots', ARGV[3], 'version', ARGV[4], 'ffmpeg', ARGV[5], 'yt_dlp', ARGV[6],
  'last_heartbeat', now)
redis.call('ZADD', workers, now, ARGV[2])

-- Most ids never come back.
local silent = redis.call('ZRANGEBYSCORE', workers, '-inf', now - ARGV[7], 'LIMIT', 0, 100)
for _, id in ipairs(silent) do
  redis.call('UNLINK', prefix .. 'worker:' .. id)
  redis.call('ZREM', workers, id)
end
