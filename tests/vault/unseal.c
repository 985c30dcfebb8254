/*
 * A private key from below PSA Crypto, so that the tests can search the flash for it. Owns the way around PSA's refusal,
 * which every code of an image without TF-M has (docs/vault.md). For the self-test of emulated boards.
 */
#include <string.h>

/* PSA Crypto's own entries. */
#define BUILDING_MBEDTLS_CRYPTO
#include <psa/internal_trusted_storage.h>
#include <zephyr/psa/key_ids.h>

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
