-- Gives the errors of transcoded calls the mesh's form: `error` (which clients of the Open Inference Protocol look for),
-- `code`, `status`, `details`. The transcoder shows a service's error as google.rpc.Status and its own complaints, like
-- Envoy's, as plain text. Errors are short: only they are buffered.
local names = {
  [1] = "CANCELLED", [2] = "UNKNOWN", [3] = "INVALID_ARGUMENT", [4] = "DEADLINE_EXCEEDED", [5] = "NOT_FOUND",
  [6] = "ALREADY_EXISTS", [7] = "PERMISSION_DENIED", [8] = "RESOURCE_EXHAUSTED", [9] = "FAILED_PRECONDITION",
  [10] = "ABORTED", [11] = "OUT_OF_RANGE", [12] = "UNIMPLEMENTED", [13] = "INTERNAL", [14] = "UNAVAILABLE",
  [15] = "DATA_LOSS", [16] = "UNAUTHENTICATED",
}
local by_http_status = { ["400"] = 3, ["404"] = 5, ["408"] = 4, ["413"] = 8, ["415"] = 3, ["503"] = 14, ["504"] = 4 }

local function quoted(text)
  text = text:gsub("[\128-\255]", "?") -- may be a stranger's bytes, and half of a character
  return '"' .. text:gsub('[%c"\\]', function(char) return string.format("\\u%04x", char:byte()) end) .. '"'
end

local function reworded(text, http_status)
  local code, rest = text:match('^{"code":(%d+),"message":(.*)$')
  if code == nil then
    if text:sub(1, 1) == "{" then return text end -- Envoy's own reply, in the mesh's form already
    code, rest = by_http_status[http_status] or 13, quoted(text) .. ',"details":[]}'
  end
  return '{"code":' .. code .. ',"status":"' .. (names[tonumber(code)] or "UNKNOWN") .. '","error":' .. rest
end

function envoy_on_response(handle)
  local http_status = handle:headers():get(":status")
  if http_status == "200" then return end
  local body = handle:body()
  if body == nil then return end
  local size = body:setBytes(reworded(body:getBytes(0, body:length()), http_status))
  local headers = handle:headers()
  headers:replace("content-length", tostring(size))
  headers:replace("content-type", "application/json")
end
