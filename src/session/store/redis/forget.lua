-- A row that nobody will ask for any more. Answers what it was found under.
local indices = redis.call('HMGET', KEYS[1], 'subject', 'sid')
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[1])
return {indices[1] or '', indices[2] or ''}
