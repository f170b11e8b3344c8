-- Puts a row in the place of another, where the rule allows it (Writer::may_replace in store.rs).
-- Numbers that are compared come as twenty digits, which are in order as text; others come as they are.
-- Answers {0}: refused. {1, subject, sid}: done, and what the row was found under before. {2}: first put the session
-- under its new indices, then ask again.
local row, lease, due = KEYS[1], KEYS[2], KEYS[3]
local verb, repeated, indexed, owner, write = ARGV[1], ARGV[2] == '1', ARGV[3] == '1', ARGV[4], ARGV[5]
local lease_ms, channel, member, score, gone = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local fence, generation, ended, seen = ARGV[11], ARGV[12], ARGV[13], ARGV[14]
local deadline, expires, subject, sid, sealed = ARGV[15], ARGV[16], ARGV[17], ARGV[18], ARGV[19]

local stored = redis.call('HMGET', row, 'fence', 'generation', 'ended', 'write', 'subject', 'sid', 'expires')
local exists = stored[1]
if exists and stored[4] == write then
  return {1, subject, sid}
end

local allowed
if verb == 'create' then
  allowed = not (exists and repeated)
elseif not exists then
  allowed = repeated
elseif stored[3] == '1' then
  allowed = false
elseif verb == 'mark' then
  allowed = fence > stored[1] and generation >= stored[2]
elseif verb == 'save' then
  allowed = fence > stored[1] or (fence == stored[1] and generation >= stored[2])
else
  allowed = generation >= stored[2]
end
local holder = redis.call('GET', lease)
if verb == 'mark' and holder and holder ~= owner then
  allowed = false
end
if not allowed then
  return {0}
end

local outlives = not exists or stored[7] ~= expires
if not indexed and ((subject ~= '' and (outlives or subject ~= stored[5])) or (sid ~= '' and (outlives or sid ~= stored[6]))) then
  return {2}
end

redis.call('HSET', row, 'fence', fence, 'generation', generation, 'ended', ended, 'seen', seen, 'deadline', deadline,
  'expires', expires, 'subject', subject, 'sid', sid, 'sealed', sealed, 'write', write)
redis.call('PEXPIREAT', row, gone)
if ended == '1' then
  redis.call('ZREM', due, member)
else
  redis.call('ZADD', due, score, member)
  outlive(due, gone)
end
if verb == 'mark' then
  redis.call('SET', lease, owner, 'PX', lease_ms)
elseif holder == owner or verb == 'end' then
  redis.call('DEL', lease)
end
if verb == 'save' or verb == 'end' then
  redis.call('PUBLISH', channel, owner .. member)
end
return {1, stored[5] or '', stored[6] or ''}
