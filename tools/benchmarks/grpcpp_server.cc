// SPDX-License-Identifier: Apache-2.0
//
// The yardstick of the gRPC benchmark: gRPC's interoperability test service on grpc++, by the
// callback API with everything else left at its default, as grpc++'s own documentation advises.
// EmptyCall is served; every other method is unimplemented.
//
//   grpcpp_server --cert FILE --key FILE
//
// Listens on 127.0.0.1, prints the port on stdout, and serves until it is killed.
#include "grpc/testing/test.grpc.pb.h"

#include <cstdio>
#include <cstring>
#include <fstream>
#include <grpcpp/grpcpp.h>
#include <sstream>
#include <string>

namespace
{

class Service final : public grpc::testing::TestService::CallbackService
{
    grpc::ServerUnaryReactor *EmptyCall(grpc::CallbackServerContext *context,
                                        const grpc::testing::Empty *,
                                        grpc::testing::Empty *) override
    {
        grpc::ServerUnaryReactor *reactor = context->DefaultReactor();

        reactor->Finish(grpc::Status::OK);
        return reactor;
    }
};

std::string read_file(const char *path)
{
    std::ifstream file(path);
    std::stringstream text;

    text << file.rdbuf();
    return text.str();
}

} // namespace

int main(int argc, char **argv)
{
    grpc::SslServerCredentialsOptions tls;
    grpc::SslServerCredentialsOptions::PemKeyCertPair pair;
    grpc::ServerBuilder builder;
    Service service;
    int port = 0;

    for (int i = 1; i + 1 < argc; i += 2) {
        if (std::strcmp(argv[i], "--cert") == 0)
            pair.cert_chain = read_file(argv[i + 1]);
        else if (std::strcmp(argv[i], "--key") == 0)
            pair.private_key = read_file(argv[i + 1]);
    }
    tls.pem_key_cert_pairs.push_back(pair);
    builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(tls), &port);
    builder.RegisterService(&service);
    std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    if (!server || port == 0) {
        std::fprintf(stderr, "grpcpp_server: cannot start\n");
        return 1;
    }
    std::printf("%d\n", port);
    std::fflush(stdout);
    server->Wait();
    return 0;
}
