/*
 * Keys that earlier firmware has made for deterministic ECDSA: Mbed TLS's record of such a key (psa_crypto_storage.c) gets the
 * algorithm that signatures are made with as its second one. The first stays, so that the former image can use the key after an
 * update that was taken back. Owns that one field, and nothing of the key.
 */
#include <string.h>

#include <mbedtls/platform_util.h>
/* PSA Crypto's own entries. */
#define BUILDING_MBEDTLS_CRYPTO
#include <psa/crypto.h>
#include <psa/internal_trusted_storage.h>
#include <zephyr/psa/key_ids.h>
#include <zephyr/sys/byteorder.h>

#include "shim_vault.h"

/* Where the fields of the record begin, in bytes, and how long it is without the key. */
enum { ALGORITHM = 24, SECOND_ALGORITHM = 28, HEAD = 36 };

bool shim_vault_allow_random(uint32_t id)
{
	static const char magic[8] = "PSA\0KEY";
	const psa_storage_uid_t uid = ZEPHYR_PSA_APPLICATION_KEY_ID_RANGE_BEGIN + id;
	uint8_t record[CONFIG_SECURE_STORAGE_ITS_MAX_DATA_SIZE];
	size_t len = 0;
	bool done = false;

	if (psa_its_get(uid, 0, sizeof(record), record, &len) == PSA_SUCCESS && len > HEAD &&
	    memcmp(record, magic, sizeof(magic)) == 0 &&
	    sys_get_le32(&record[ALGORITHM]) == PSA_ALG_DETERMINISTIC_ECDSA(PSA_ALG_SHA_256) &&
	    sys_get_le32(&record[SECOND_ALGORITHM]) == PSA_ALG_NONE) {
		sys_put_le32(PSA_ALG_ECDSA(PSA_ALG_SHA_256), &record[SECOND_ALGORITHM]);
		done = psa_its_set(uid, len, record, PSA_STORAGE_FLAG_NONE) == PSA_SUCCESS;
	}
	mbedtls_platform_zeroize(record, sizeof(record));
	return done;
}
