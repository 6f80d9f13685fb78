"""The forms in which calls come and answers go: protobuf, the Open Inference Protocol's JSON, natural JSON, headers."""
