-- The row, and who holds its lease.
local row = redis.call('HMGET', KEYS[1], 'fence', 'generation', 'ended', 'seen', 'deadline', 'expires', 'subject', 'sid', 'sealed')
if row[1] then
  row[10] = redis.call('GET', KEYS[2])
end
return row
