import struct

import grpc
from open_inference_pb2 import ModelInferRequest
from open_inference_pb2_grpc import GRPCInferenceServiceStub

request = ModelInferRequest(model_name="review")
text = request.inputs.add(name="text", datatype="BYTES", shape=[2])
text.contents.bytes_contents.extend([b"What a GREAT film!", b"Awful. Boring."])
with grpc.insecure_channel("127.0.0.1:8000") as channel:
    answer = GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=5)
for tensor, raw in zip(answer.outputs, answer.raw_output_contents, strict=True):
    if tensor.datatype == "FP64":
        print(tensor.name, struct.unpack(f"<{tensor.shape[0]}d", raw))
