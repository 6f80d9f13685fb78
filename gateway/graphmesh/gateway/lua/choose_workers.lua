-- Chooses the workers of an inference request: writes the `envoy.lb` metadata that the clusters' subsets match.
-- Runs on header and field values alone, never on the body. A request whose model, version or timeout is not
-- well-formed gets no metadata: it falls to the default subset, the control plane's `absent` service, which says why.

local function valid_name(name)
  return #name <= 128 and name:match("^[a-z0-9][a-z0-9._-]*$") ~= nil
end

local function valid_number(text, digits)
  return #text <= digits and text:match("^%d+$") ~= nil
end

-- As names and revisions in x-graphmesh-graph-revisions: inner=3,other=1.
local function valid_revisions(text)
  return #text <= 4096 and text:match("^[a-z0-9._=,-]+$") ~= nil
end

-- As the value of grpc-timeout, which has up to eight digits.
local function grpc_timeout(milliseconds)
  if milliseconds < 1e8 then return string.format("%dm", milliseconds) end
  return string.format("%dS", math.ceil(milliseconds / 1000))
end

local function decoded(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- Model and version of a REST path.
local function from_path(path)
  path = path:match("^[^?#]*")
  local model, version = path:match("^/v[12]/models/([^/]*)/versions/([^/:]*)")
  if model == nil then model = path:match("^/v2/models/([^/]*)") or path:match("^/v1/models/([^/]*):predict%a*$") end
  return decoded(model or ""), version and decoded(version)
end

-- Model and version of a gRPC message, as the field extraction filter found them.
local function from_fields(fields)
  local model = fields.model_name or fields.model or fields.name
  local version = fields.model_version or fields.version
  return model and model[1] or "", version and version[1]
end

function envoy_on_request(handle)
  local headers, metadata = handle:headers(), handle:streamInfo():dynamicMetadata()
  local fields = metadata:get("envoy.filters.http.grpc_field_extraction")
  local model, version
  if fields then
    model, version = from_fields(fields)
  else
    local path = headers:get(":path")
    if path:sub(1, 2) ~= "/v" then return end -- not gRPC on a gRPC path
    model, version = from_path(path)
  end
  local streamed = headers:get("x-envoy-original-path") -- by REST, and transcoded
  if streamed then headers:remove("grpc-timeout") end
  local timeout = headers:get("x-graphmesh-timeout-ms")
  if timeout and (streamed or not fields) then
    if not valid_number(timeout, 9) or tonumber(timeout) == 0 then return end
    -- A deadline of the stream, as for gRPC. One of the router would count as the worker's failure and eject it.
    -- Streams are ended by their worker, which says so in the last event; Envoy, a second later, can only cut them.
    headers:replace("grpc-timeout", grpc_timeout(tonumber(timeout) + (streamed and 1000 or 0)))
    handle:clearRouteCache() -- Envoy reads the header when it looks up the route
  end
  if version == "" then version = nil end
  if not valid_name(model) or (version and not valid_number(version, 18)) then return end

  -- Workers that call graphs elsewhere set these, and outsiders may; what no worker could read is not passed on.
  local depth, calls = headers:get("x-graphmesh-depth"), headers:get("x-graphmesh-calls")
  local revisions = headers:get("x-graphmesh-graph-revisions")
  if depth and not valid_number(depth, 4) then headers:remove("x-graphmesh-depth") end
  if calls and not valid_number(calls, 9) then headers:remove("x-graphmesh-calls") end
  if revisions and not valid_revisions(revisions) then headers:remove("x-graphmesh-graph-revisions") end

  -- Live graph revisions are the virtual host's metadata: a graph's version is a revision, and any executor has them all.
  local revision = handle:virtualHost():metadata():get(model)
  if revision then
    headers:replace("x-graphmesh-graph-revision", version or string.format("%d", revision))
    version = nil
  end
  if version then
    metadata:set("envoy.lb", "model_version", model .. "@" .. version)
  else
    metadata:set("envoy.lb", "model", model)
  end
end

-- The field extraction filter calls a message past the buffer limit FAILED_PRECONDITION; it is RESOURCE_EXHAUSTED.
local function corrected(status, message)
  if status == "9" and message == "Rejected because internal buffer limits are exceeded." then
    return "8", "the message is larger than this gateway passes; its max_message_bytes says how large one may be"
  end
  return status, message
end

local function put(map, status, message, details, pushback)
  map:replace("grpc-status", status)
  if message then map:replace("grpc-message", message) end
  if details then map:replace("grpc-status-details-bin", details) end
  if pushback then map:replace("grpc-retry-pushback-ms", pushback) end
end

-- The other half of keep_status.lua: puts the status back, into the trailers that the bridge made.
function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get("x-graphmesh-status")
  if status == nil then
    status = headers:get("grpc-status")
    if status == "9" then put(headers, corrected(status, headers:get("grpc-message"))) end
    return
  end
  local message, details = headers:get("x-graphmesh-status-message"), headers:get("x-graphmesh-status-details")
  local pushback = headers:get("grpc-retry-pushback-ms") -- clients look for it in the trailers only
  headers:remove("x-graphmesh-status")
  headers:remove("x-graphmesh-status-message")
  headers:remove("x-graphmesh-status-details")
  headers:remove("grpc-retry-pushback-ms")
  status, message = corrected(status, message)
  if headers:get("content-type") == "application/x-protobuf" then -- refused before the bridge took part
    headers:replace("content-type", "application/grpc")
    headers:remove("content-length")
    put(headers, status, message, details, pushback)
    return
  end
  local trailers = handle:trailers()
  if trailers then put(trailers, status, message, details, pushback) end
end
