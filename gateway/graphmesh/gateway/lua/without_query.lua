-- Takes the query from the path of a stream before it is transcoded: the transcoder would let `?model=` stand for the
-- model in the path. The one thing that a query may ask for is passed on as the header that asks for the same.
function envoy_on_request(handle)
  local headers = handle:headers()
  local path, query = headers:get(":path"):match("^([^?#]*)%??(.*)$")
  headers:replace(":path", path)
  if ("&" .. query .. "&"):find("&explain=true&", 1, true) then headers:replace("x-graphmesh-explain", "1") end
end
