-- What wrk sends and tells. With an argument every request is another text: the argument and a running number are added to the
-- path, where they end a comment in the query.

local number = 0

function init(args)
   if args[1] then
      local path = wrk.path .. args[1]
      request = function()
         number = number + 1
         return wrk.format("GET", path .. number)
      end
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
   io.write(string.format('{"requests": %d, "failed": %d, "seconds": %.6f, "median": %.6f, "p99": %.6f}\n',
      summary.requests, failed, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
