/*
 * A private key from below PSA Crypto, so that the tests can search the flash for it. Owns the way around PSA's refusal,
 * which every code of an image without TF-M has (docs/vault.md). For the self-test of emulated boards.
 */
#include <string.h>

/* PSA Crypto's own entries. */
#define BUILDING_MBEDTLS_CRYPTO
#include <psa/crypto.h>
#include <psa/internal_trusted_storage.h>
#include <zephyr/psa/key_ids.h>
#include <zephyr/sys/byteorder.h>

#include "shim_vault.h"

int self_test_unseal(uint32_t id, uint8_t scalar[SHIM_VAULT_SCALAR_BYTES])
{
	uint8_t entry[CONFIG_SECURE_STORAGE_ITS_MAX_DATA_SIZE];
	size_t len = 0;
	psa_status_t status =
		psa_its_get(ZEPHYR_PSA_APPLICATION_KEY_ID_RANGE_BEGIN + id, 0, sizeof(entry), entry, &len);

	if (status != 0 || len < SHIM_VAULT_SCALAR_BYTES) {
		return -1;
	}
	/* The key is the end of Mbed TLS's record. */
	memcpy(scalar, entry + len - SHIM_VAULT_SCALAR_BYTES, SHIM_VAULT_SCALAR_BYTES);
	return 0;
}

/* Makes of a key what earlier firmware has made: one for deterministic signatures only. */
int self_test_age(uint32_t id)
{
	enum { ALGORITHM = 24 };
	uint8_t entry[CONFIG_SECURE_STORAGE_ITS_MAX_DATA_SIZE];
	size_t len = 0;
	psa_storage_uid_t uid = ZEPHYR_PSA_APPLICATION_KEY_ID_RANGE_BEGIN + id;

	if (psa_its_get(uid, 0, sizeof(entry), entry, &len) != 0 ||
	    sys_get_le32(&entry[ALGORITHM]) != PSA_ALG_ECDSA(PSA_ALG_SHA_256)) {
		return -1;
	}
	sys_put_le32(PSA_ALG_DETERMINISTIC_ECDSA(PSA_ALG_SHA_256), &entry[ALGORITHM]);
	return psa_its_set(uid, len, entry, PSA_STORAGE_FLAG_NONE) == 0 ? 0 : -1;
}
