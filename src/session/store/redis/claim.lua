-- Debts that nobody works on are the caller's from now on. KEYS[1] is the order, ARGV[4] what their keys begin with.
local now, until_, limit, names = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local claimed = {}
while #claimed < limit do
  local free = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, limit - #claimed)
  if #free == 0 then
    break
  end
  local before = #claimed
  for _, member in ipairs(free) do
    local debt = redis.call('HMGET', names .. hex(member), 'expires', 'sealed')
    if debt[1] then
      redis.call('ZADD', KEYS[1], until_, member)
      claimed[#claimed + 1] = {member, debt[1], debt[2]}
    else
      redis.call('ZREM', KEYS[1], member)
    end
  end
  if #claimed > before and tonumber(until_) <= tonumber(now) then
    break
  end
end
return claimed
