-- On the fast path, between the reverse bridge and the router: a gRPC status in an answer's headers, the worker's or
-- Envoy's own, would be lost in the bridge. Renamed here it passes, and choose_workers.lua puts it back. An answer that
-- is no message at all (a worker's server that failed before the model's) becomes a status too.

local by_http_status = { ["413"] = "8", ["429"] = "8", ["503"] = "14", ["504"] = "4" }

local function kept(headers, status)
  headers:replace("x-graphmesh-status", status)
  headers:replace("content-type", "application/x-protobuf") -- the bridge refuses anything else
  headers:replace("content-length", "0")
end

local function emptied(handle, http_status)
  local body = handle:body()
  if body then body:setBytes("") end
  local headers = handle:headers()
  kept(headers, by_http_status[http_status] or "13")
  headers:replace("x-graphmesh-status-message", "the worker answered HTTP " .. http_status .. " without a message")
  headers:replace(":status", "200")
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get("grpc-status")
  if status == nil then
    if headers:get("content-type") ~= "application/x-protobuf" then emptied(handle, headers:get(":status")) end
    return
  end
  kept(headers, status)
  headers:remove("grpc-status")
  local message, details = headers:get("grpc-message"), headers:get("grpc-status-details-bin")
  if message then
    headers:replace("x-graphmesh-status-message", message)
    headers:remove("grpc-message")
  end
  if details then
    headers:replace("x-graphmesh-status-details", details)
    headers:remove("grpc-status-details-bin")
  end
end
