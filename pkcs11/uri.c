/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11/internal.h"

#include <string.h>

static int bad(struct mm_errinfo *ei, const char *text, const char *why)
{
    return mm_fail(ei, MM_ERR_INVALID, "TOKEN_URI_INVALID", "PKCS#11 URI '%.80s': %s", text, why);
}

static const char *forbidden(P11KitUri *uri)
{
    /* The value itself stays out of the message. */
    if (p11_kit_uri_get_pin_value(uri) || p11_kit_uri_get_pin_source(uri))
        return "the PIN does not belong in it; use a PIN file or credential";
    if (p11_kit_uri_get_module_name(uri) || p11_kit_uri_get_module_path(uri))
        return "the module is a setting of its own, not part of it";
    return NULL;
}

int mm_uri_parse(const char *text, bool objects, P11KitUri **ret_uri, struct mm_errinfo *ei)
{
    MM_URI_CLEANUP P11KitUri *uri = p11_kit_uri_new();
    const char *shown = text;
    const char *why;
    int r;

    if (!uri)
        return mm_fail_memory(ei);
    if (strlen(text) > MM_URI_MAX)
        return bad(ei, text, "too long");
    /* A PIN in it must not come out again in the error: from its query on it is not shown. */
    if (strstr(text, "pin"))
        shown = "pkcs11:…";
    r = p11_kit_uri_parse(text, objects ? P11_KIT_URI_FOR_OBJECT_ON_TOKEN : P11_KIT_URI_FOR_TOKEN,
                          uri);
    if (r == P11_KIT_URI_NO_MEMORY)
        return mm_fail_memory(ei);
    if (r != P11_KIT_URI_OK)
        return bad(ei, shown, "not a URI as RFC 7512 has it");
    why = forbidden(uri);
    if (why)
        return bad(ei, shown, why);
    /* p11-kit marks what the requested kind has no place for: slot-id, library-…, and misspelt
     * names, which must not widen the match in silence. */
    if (p11_kit_uri_any_unrecognized(uri))
        return bad(ei, shown,
                   objects ? "only token, manufacturer, model, serial, object, id and type may "
                             "stand in it, never a slot"
                           : "only token, manufacturer, model and serial may stand in it, never a "
                             "slot");
    *ret_uri = MM_TAKE(uri);
    return MM_OK;
}
