# SPDX-License-Identifier: Apache-2.0
#
# gRPC's interoperability service on Debian's ruby-grpc (C-core), over TLS on the loopback:
#
#   ruby_server.rb PB_FOLDER CERTIFICATE KEY
#
# PB_FOLDER is the package's folder pb, for the messages. Prints its port. The package's own server
# listens on every address, and neither compresses nor handles the statuses of streams.
pb, certificate, key = ARGV
$LOAD_PATH.unshift(pb)
require 'grpc'
require 'src/proto/grpc/testing/empty_pb'
require 'src/proto/grpc/testing/messages_pb'
require 'src/proto/grpc/testing/test_services_pb'

# Answers as doc/interop-test-descriptions.md says. What C-core does not tell a server, whether a
# request came compressed, is not looked at.
class TestService < Grpc::Testing::TestService::Service
  include Grpc::Testing

  INITIAL = 'x-grpc-test-echo-initial'
  TRAILING = 'x-grpc-test-echo-trailing-bin'

  def empty_call(_request, _call)
    Empty.new
  end

  def unary_call(request, call)
    echo_metadata(call)
    echo_status(request)
    compress(call, request.response_compressed)
    SimpleResponse.new(payload: zeros(request.response_size))
  end

  def streaming_input_call(call)
    sum = call.each_remote_read.sum { |request| request.payload.body.length }
    StreamingInputCallResponse.new(aggregated_payload_size: sum)
  end

  def streaming_output_call(request, call)
    outputs([request], call)
  end

  def full_duplex_call(requests, call)
    echo_metadata(call)
    outputs(requests, call)
  end

  private

  def outputs(requests, call)
    Enumerator.new do |responses|
      requests.each do |request|
        echo_status(request)
        request.response_parameters.each do |wanted|
          sleep(wanted.interval_us / 1e6)
          compress(call, wanted.compressed)
          responses << StreamingOutputCallResponse.new(payload: zeros(wanted.size))
        end
      end
    end
  end

  def zeros(size)
    Payload.new(body: "\0".b * size)
  end

  def echo_status(request)
    status = request.response_status
    raise GRPC::BadStatus.new_status_exception(status.code, status.message) if status
  end

  def echo_metadata(call)
    initial = call.metadata[INITIAL]
    trailing = call.metadata[TRAILING]
    call.merge_metadata_to_send({ INITIAL => initial }) if initial
    call.output_metadata[TRAILING] = trailing if trailing
  end

  # The server compresses all that does not say otherwise; the view of a call hides its switch.
  def compress(call, wanted)
    flags = wanted&.value ? 0 : GRPC::Core::WriteFlags::NO_COMPRESS
    call.instance_variable_get(:@wrapped).write_flag = flags
  end
end

compression = GRPC::Core::CompressionOptions.new(default_algorithm: :gzip)
server = GRPC::RpcServer.new(pool_size: 64, server_args: compression.to_channel_arg_hash)
credentials = GRPC::Core::ServerCredentials.new(
  nil, [{ private_key: File.read(key), cert_chain: File.read(certificate) }], false
)
port = server.add_http2_port('127.0.0.1:0', credentials)
server.handle(TestService)
Thread.new do
  server.wait_till_running
  puts port
  $stdout.flush
end
server.run_till_terminated_or_interrupted(%w[TERM INT])
