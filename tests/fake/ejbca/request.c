/* SPDX-License-Identifier: Apache-2.0 */
/* certificaterequest: for an end entity that is registered; it refuses with words of its own. */
#include "tests/fake/ejbca/issue.h"
#include "tests/fake/ejbca/name.h"

#include <string.h>

/* 8.2 does not catch what goes wrong with the CA, so that it is a 503 here. */
static bool find_ca(struct call *call, struct order *order)
{
    order->ca = order->ca_name ? ca_by_name(&call->fake->cas, order->ca_name) : NULL;
    if (order->ca && order->ca->listed)
        return true;
    call_error(call, is_version_9(call->fake) ? 400 : 503, "CA with name %s doesn't exist.",
               order->ca_name ? order->ca_name : "null");
    return false;
}

static bool ca_works(struct call *call, const struct order *order)
{
    const char *status = order_ca_status(call, order);

    if (strcmp(status, "active") == 0)
        return true;
    if (strcmp(status, "offline") == 0)
        call_error(call, 503, "Device was unavailable.");
    else
        call_error(call, 503, "signsession.canotactive, %s", order->ca->subject_text);
    return false;
}

/* The end entity of a certificaterequest, which must wait for its certificate. */
static bool find_user(struct call *call, struct order *order)
{
    const struct user *user =
        order->username ? state_user(call->fake->state, order->username) : NULL;
    const char *password = call_text(call, "password");

    if (!user) {
        call_error(call, 400, "Wrong username or password");
        return false;
    }
    if (user->password && (!password || strcmp(user->password, password) != 0)) {
        call_error(call, 400, "Got request for user with invalid password: %s.", order->username);
        return false;
    }
    if (user->status != 10) {
        call_error(call, 400,
                   "Got request with status GENERATED (40). Status NEW, FAILED or INPROCESS "
                   "required: %s.",
                   order->username);
        return false;
    }
    if (user->subject[0] && !name_from_text(user->subject, &order->subject)) {
        call_error(call, 400, "Certificate could not be generated.");
        return false;
    }
    return true;
}

/* The CSR, and how this call says what is wrong with it. */
static bool read_csr(struct call *call, struct order *order)
{
    if (!order_parse(call, order)) {
        if (is_version_9(call->fake))
            call_error(
                call, 400,
                "Failed to generate certificate due to malformed certificate requet for type "
                "%s.",
                call_text(call, "certificate_request_type"));
        else
            call_error(call, 400, "Failed to generate certificate due to malformed CSR.");
        return false;
    }
    if (!order_verify(call, order)) {
        call_error(call, 400, "An incorrect certificate request has been passed.");
        return false;
    }
    if (order_key(call, order))
        return true;
    call_error(
        call, 400,
        "An incorrect certificate key has been passed contain rather too large key or having "
        "any other issue.");
    return false;
}

static bool is_unique(struct call *call, const struct order *order)
{
    if (order_is_unique(call, order))
        return true;
    call_error(call, 409,
               "Failed to generate certificate due to the new certificate conflicting with an "
               "existing one.");
    return false;
}

void enroll_request(struct call *call)
{
    struct order order ORDER_CLEANUP = {
        .username = call_text(call, "username"),
        .ca_name = call_text(call, "certificate_authority_name"),
        .certificate_profile = "DevCert",
        .end_entity_profile = "DevEE",
        .profile = setting_in(call->fake->scenario, "certificate_profiles", "DevCert"),
        .der = MM_BUF_INIT(2 * CSR_DER_MAX),
        .subject = MM_BUF_INIT(CSR_DER_MAX),
    };

    if (!call->body || (is_version_9(call->fake) && !call_text(call, "certificate_request_type"))) {
        call_error(call, 500, "General failure.");
        return;
    }
    if (!find_ca(call, &order) || !find_user(call, &order) || !read_csr(call, &order) ||
        !ca_works(call, &order) || !is_unique(call, &order))
        return;
    order_issue(call, &order);
}
