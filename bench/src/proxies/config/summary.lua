-- What wrk found, in one line for a program: requests, errors, p50 and p99 in microseconds.
function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format("summary %d %d %d %d\n", summary.requests, e.connect + e.write + e.status + e.timeout,
        latency:percentile(50), latency:percentile(99)))
end
