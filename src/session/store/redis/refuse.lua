-- Refuses tokens: each under what it is refused by, in the order in which that is over; and tells the other processes.
-- Without a channel nobody is told: each of them reads it all by itself.
local refusals, owner, channel, now = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
redis.call('ZREMRANGEBYSCORE', refusals, '-inf', now)
for n = 4, #ARGV, 3 do
  local member, over, message = ARGV[n], ARGV[n + 1], ARGV[n + 2]
  redis.call('ZADD', refusals, 'GT', over, member)
  outlive(refusals, over)
  if channel ~= '' then
    redis.call('PUBLISH', channel, owner .. message)
  end
end
return 1
