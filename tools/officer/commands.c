/* SPDX-License-Identifier: Apache-2.0 */
/* What mintmark-officer can do, and the options that each command takes. */
#include "tools/officer/officer.h"

#define OPTIONS(...) ((const enum mm_option[]){__VA_ARGS__ __VA_OPT__(, ) MM_OPT_NONE})
#define PIN          MM_OPT_pin_file, MM_OPT_pin_fd, MM_OPT_pin_credential, MM_OPT_pin_prompt
#define CEREMONY     MM_OPT_operator_name, MM_OPT_witness, MM_OPT_transcript, MM_OPT_yes, MM_OPT_json
#define CA_PROFILE                                                                                 \
    MM_OPT_profile, MM_OPT_preset, MM_OPT_subject, MM_OPT_vid, MM_OPT_pid, MM_OPT_validity,        \
        MM_OPT_not_before, MM_OPT_path_length, MM_OPT_curve, MM_OPT_create_key

const struct mm_command mm_commands[] = {
    {
        .words = "token init",
        .summary = "give a new token its label and PINs",
        .ceremony = true,
        .required = OPTIONS(MM_OPT_config, MM_OPT_label),
        .optional =
            OPTIONS(MM_OPT_token, MM_OPT_so_pin_file, MM_OPT_so_pin_fd, MM_OPT_generate_so_pin_file,
                    MM_OPT_pin_file, MM_OPT_pin_fd, MM_OPT_generate_pin_file, CEREMONY),
        .run = mm_cmd_token_init,
    },
    {
        .words = "token status",
        .summary = "what the token is, what it can do, and the state of its keys",
        .required = OPTIONS(MM_OPT_config),
        .optional = OPTIONS(MM_OPT_token, PIN, MM_OPT_json),
        .run = mm_cmd_token_status,
    },
    {
        .words = "token test",
        .summary = "try every operation that mintmark needs; libcrypto checks the results",
        .required = OPTIONS(MM_OPT_config),
        .optional = OPTIONS(MM_OPT_token, PIN, MM_OPT_json),
        .run = mm_cmd_token_test,
    },
    {
        .words = "token bench",
        .summary = "measure every operation, one after the other",
        .required = OPTIONS(MM_OPT_config),
        .optional = OPTIONS(MM_OPT_token, PIN, MM_OPT_seconds, MM_OPT_json),
        .run = mm_cmd_token_bench,
    },
    {
        .words = "key create",
        .summary = "make a CA, transport or signing key that stays in the token",
        .ceremony = true,
        .required = OPTIONS(MM_OPT_config, MM_OPT_use, MM_OPT_label),
        .optional = OPTIONS(MM_OPT_token, MM_OPT_curve, PIN, CEREMONY),
        .run = mm_cmd_key_create,
    },
    {
        .words = "key list",
        .summary = "the keys of the token, each held against its policy",
        .required = OPTIONS(MM_OPT_config),
        .optional = OPTIONS(MM_OPT_token, PIN, MM_OPT_json),
        .run = mm_cmd_key_list,
    },
    {
        .words = "key public",
        .summary = "the public half of a key pair, PEM",
        .required = OPTIONS(MM_OPT_config, MM_OPT_label, MM_OPT_out),
        .optional = OPTIONS(MM_OPT_token, PIN, MM_OPT_json),
        .run = mm_cmd_key_public,
    },
    {
        .words = "key transport export",
        .summary = "wrap a transport key to a recipient's public key",
        .ceremony = true,
        .required = OPTIONS(MM_OPT_config, MM_OPT_name, MM_OPT_recipient, MM_OPT_out),
        .optional = OPTIONS(MM_OPT_token, PIN, CEREMONY),
        .run = mm_cmd_key_export,
    },
    {
        .words = "ca create-root",
        .summary = "make a root CA: its key in the token, and its certificate",
        .ceremony = true,
        .required = OPTIONS(MM_OPT_config, MM_OPT_label, MM_OPT_out),
        .optional = OPTIONS(MM_OPT_token, CA_PROFILE, PIN, CEREMONY),
        .run = mm_cmd_ca_create_root,
    },
    {
        .words = "ca create-sub",
        .summary = "make a CA below one in the token, or a request for one elsewhere",
        .ceremony = true,
        .required = OPTIONS(MM_OPT_config, MM_OPT_label),
        .optional = OPTIONS(MM_OPT_token, MM_OPT_parent_label, MM_OPT_parent_certificate,
                            MM_OPT_out, MM_OPT_csr_out, CA_PROFILE, PIN, CEREMONY),
        .run = mm_cmd_ca_create_sub,
    },
    {
        .words = "ca import",
        .summary = "install the certificate that a CA elsewhere signed",
        .ceremony = true,
        .required = OPTIONS(MM_OPT_config, MM_OPT_issuer, MM_OPT_in),
        .optional = OPTIONS(MM_OPT_token, PIN, CEREMONY),
        .run = mm_cmd_ca_import,
    },
    {
        .words = "ca show",
        .summary = "a CA's certificates, and whether its key is in the token",
        .required = OPTIONS(MM_OPT_config),
        .optional = OPTIONS(MM_OPT_issuer, MM_OPT_certificate, MM_OPT_label, MM_OPT_token, PIN,
                            MM_OPT_json),
        .run = mm_cmd_ca_show,
    },
    {
        .words = "appliance init",
        .summary = "make the appliance's identity and audit keys, and their certificates",
        .ceremony = true,
        .required = OPTIONS(MM_OPT_config),
        .optional = OPTIONS(MM_OPT_csr, PIN, CEREMONY),
        .run = mm_cmd_appliance_init,
    },
    {
        .words = "order add",
        .summary = "allow the service to make so many devices of a profile",
        .ceremony = true,
        .required =
            OPTIONS(MM_OPT_site, MM_OPT_id, MM_OPT_profile, MM_OPT_quantity, MM_OPT_not_after),
        .optional = OPTIONS(MM_OPT_not_before, MM_OPT_target, CEREMONY),
        .run = mm_cmd_order_add,
    },
    {
        .words = "order list",
        .summary = "the production orders, newest first",
        .required = OPTIONS(MM_OPT_site),
        .optional = OPTIONS(MM_OPT_target, MM_OPT_json),
        .run = mm_cmd_order_list,
    },
    {
        .words = "status",
        .summary = "the state of the running service and its workers",
        .required = OPTIONS(MM_OPT_site),
        .optional = OPTIONS(MM_OPT_target, MM_OPT_json),
        .run = mm_cmd_status,
    },
    {
        .words = "config check",
        .summary = "check a configuration, the files it names, and its profiles",
        .operand = "FILE",
        .required = OPTIONS(),
        .optional = OPTIONS(MM_OPT_json),
        .run = mm_cmd_config_check,
    },
};

const size_t mm_commands_count = MM_ARRAY_SIZE(mm_commands);
