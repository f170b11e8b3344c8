-- Activity. Answers 0 where the row is gone, has ended, or knows of later activity.
local row, due = KEYS[1], KEYS[2]
local seen, deadline, score, idle, member = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local stored = redis.call('HMGET', row, 'ended', 'seen', 'expires')
if stored[1] ~= '0' or stored[2] > seen then
  return 0
end
local gone = idle
if tonumber(stored[3]) < tonumber(idle) then
  gone = stored[3]
end
redis.call('HSET', row, 'seen', seen, 'deadline', deadline)
redis.call('PEXPIREAT', row, gone)
redis.call('ZADD', due, score, member)
outlive(due, gone)
return 1
