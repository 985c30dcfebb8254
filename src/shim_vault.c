/*
 * See shim_vault.h. Owns the words in which PSA Crypto and Zephyr's secure storage are spoken to: key attributes, key
 * ids. No decision is taken here, and no key stays here.
 */
#include "shim_vault.h"

#include <string.h>

#include <mbedtls/platform_util.h>
#include <psa/crypto.h>
#include <sensor_device/sealing_key.h>
#include <zephyr/kernel.h>
#include <zephyr/psa/key_ids.h>
#include <zephyr/secure_storage/its/store.h>
#include <zephyr/secure_storage/its/transform/aead_get.h>

BUILD_ASSERT(SHIM_VAULT_SEALING_KEY_BYTES == CONFIG_SECURE_STORAGE_ITS_TRANSFORM_AEAD_KEY_SIZE &&
		     SHIM_VAULT_SEALING_KEY_BYTES == SENSOR_SEALING_KEY_BYTES,
	     "AES-256-GCM.");
BUILD_ASSERT(SHIM_VAULT_VALUE_BYTES_MAX >= SECURE_STORAGE_ITS_TRANSFORM_MAX_STORED_DATA_SIZE,
	     "A sealed value must fit into the vault's partition.");

/* SP 800-56C, 4.1: one step with SHA-256. The label is the fixed information, with the entry's id. */
#define SEALING_LABEL "sensor vault entry key"

/* What a key may be used for is part of it from its making on. */
static psa_key_attributes_t attributes_of(uint32_t id, bool exportable)
{
	psa_key_attributes_t attributes = PSA_KEY_ATTRIBUTES_INIT;

	psa_set_key_id(&attributes, ZEPHYR_PSA_APPLICATION_KEY_ID_RANGE_BEGIN + id);
	psa_set_key_lifetime(&attributes, PSA_KEY_LIFETIME_PERSISTENT);
	psa_set_key_type(&attributes, PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_SECP_R1));
	psa_set_key_bits(&attributes, 256);
	psa_set_key_usage_flags(&attributes, PSA_KEY_USAGE_SIGN_HASH | (exportable ? PSA_KEY_USAGE_EXPORT : 0));
	psa_set_key_algorithm(&attributes, PSA_ALG_ECDSA(PSA_ALG_SHA_256));
	return attributes;
}

static mbedtls_svc_key_id_t psa_id(uint32_t id)
{
	return mbedtls_svc_key_id_make(0, ZEPHYR_PSA_APPLICATION_KEY_ID_RANGE_BEGIN + id);
}

static enum shim_vault_status status_of(psa_status_t status)
{
	switch (status) {
	case PSA_SUCCESS:
		return SHIM_VAULT_DONE;
	case PSA_ERROR_INVALID_HANDLE:
	case PSA_ERROR_DOES_NOT_EXIST:
		return SHIM_VAULT_EMPTY;
	case PSA_ERROR_STORAGE_FAILURE:
	case PSA_ERROR_INSUFFICIENT_STORAGE:
	case PSA_ERROR_HARDWARE_FAILURE:
		return SHIM_VAULT_MEDIUM;
	case PSA_ERROR_DATA_CORRUPT:
	case PSA_ERROR_DATA_INVALID:
	case PSA_ERROR_INVALID_SIGNATURE:
		return SHIM_VAULT_SEALED;
	case PSA_ERROR_INSUFFICIENT_ENTROPY:
		return SHIM_VAULT_ENTROPY;
	case PSA_ERROR_INVALID_ARGUMENT:
	case PSA_ERROR_NOT_PERMITTED:
		return SHIM_VAULT_REFUSED;
	default:
		return SHIM_VAULT_OTHER;
	}
}

/* The key leaves the RAM after each use; in flash it stays. */
static enum shim_vault_status used(uint32_t id, psa_status_t status)
{
	(void)psa_purge_key(psa_id(id));
	return status_of(status);
}

enum shim_vault_status shim_vault_start(void)
{
	return status_of(psa_crypto_init());
}

enum shim_vault_status shim_vault_generate(uint32_t id, bool exportable)
{
	const psa_key_attributes_t attributes = attributes_of(id, exportable);
	mbedtls_svc_key_id_t made;

	return used(id, psa_generate_key(&attributes, &made));
}

enum shim_vault_status shim_vault_import(uint32_t id, bool exportable, const uint8_t scalar[SHIM_VAULT_SCALAR_BYTES])
{
	const psa_key_attributes_t attributes = attributes_of(id, exportable);
	mbedtls_svc_key_id_t made;

	return used(id, psa_import_key(&attributes, scalar, SHIM_VAULT_SCALAR_BYTES, &made));
}

enum shim_vault_status shim_vault_public(uint32_t id, uint8_t point[SHIM_VAULT_POINT_BYTES])
{
	size_t len;

	return used(id, psa_export_public_key(psa_id(id), point, SHIM_VAULT_POINT_BYTES, &len));
}

static enum shim_vault_status sign(uint32_t id, const uint8_t digest[SHIM_VAULT_DIGEST_BYTES],
				   uint8_t signature[SHIM_VAULT_SIGNATURE_BYTES])
{
	size_t len;

	return used(id, psa_sign_hash(psa_id(id), PSA_ALG_ECDSA(PSA_ALG_SHA_256), digest, SHIM_VAULT_DIGEST_BYTES, signature,
				      SHIM_VAULT_SIGNATURE_BYTES, &len));
}

enum shim_vault_status shim_vault_sign(uint32_t id, const uint8_t digest[SHIM_VAULT_DIGEST_BYTES],
				       uint8_t signature[SHIM_VAULT_SIGNATURE_BYTES])
{
	enum shim_vault_status status = sign(id, digest, signature);

	/* A key of earlier firmware. */
	return status == SHIM_VAULT_REFUSED && shim_vault_allow_random(id) ? sign(id, digest, signature) : status;
}

enum shim_vault_status shim_vault_export(uint32_t id, uint8_t scalar[SHIM_VAULT_SCALAR_BYTES])
{
	size_t len;

	return used(id, psa_export_key(psa_id(id), scalar, SHIM_VAULT_SCALAR_BYTES, &len));
}

enum shim_vault_status shim_vault_destroy(uint32_t id)
{
	return status_of(psa_destroy_key(psa_id(id)));
}

uint32_t shim_vault_entry(uint32_t id)
{
	const secure_storage_its_uid_t uid = {
		.uid = ZEPHYR_PSA_APPLICATION_KEY_ID_RANGE_BEGIN + id,
		.caller_id = SECURE_STORAGE_ITS_CALLER_MBEDTLS,
	};
	uint32_t entry;

	BUILD_ASSERT(sizeof(uid) == sizeof(entry), "SECURE_STORAGE_64_BIT_UID is for stores older than Zephyr 4.3.");
	memcpy(&entry, &uid, sizeof(entry));
	return entry;
}

static uint32_t entry_of(secure_storage_its_uid_t uid)
{
	uint32_t entry;

	memcpy(&entry, &uid, sizeof(entry));
	return entry;
}

/* Zephyr's secure storage over the vault's partition. PSA Crypto may be called by several threads. */
static K_MUTEX_DEFINE(store_lock);

static psa_status_t stored(enum shim_vault_status status)
{
	switch (status) {
	case SHIM_VAULT_DONE:
		return PSA_SUCCESS;
	case SHIM_VAULT_EMPTY:
		return PSA_ERROR_DOES_NOT_EXIST;
	case SHIM_VAULT_SEALED:
		return PSA_ERROR_DATA_CORRUPT;
	case SHIM_VAULT_FULL:
		return PSA_ERROR_INSUFFICIENT_STORAGE;
	default:
		return PSA_ERROR_STORAGE_FAILURE;
	}
}

psa_status_t secure_storage_its_store_set(secure_storage_its_uid_t uid, size_t data_length, const void *data)
{
	enum shim_vault_status status;

	(void)k_mutex_lock(&store_lock, K_FOREVER);
	status = vault_store_set(entry_of(uid), data, data_length);
	(void)k_mutex_unlock(&store_lock);
	return stored(status);
}

psa_status_t secure_storage_its_store_get(secure_storage_its_uid_t uid, size_t data_size, void *data,
					  size_t *data_length)
{
	enum shim_vault_status status;

	(void)k_mutex_lock(&store_lock, K_FOREVER);
	status = vault_store_get(entry_of(uid), data, data_size, data_length);
	(void)k_mutex_unlock(&store_lock);
	return stored(status);
}

psa_status_t secure_storage_its_store_remove(secure_storage_its_uid_t uid)
{
	return stored(shim_vault_remove(entry_of(uid)));
}

enum shim_vault_status shim_vault_remove(uint32_t entry)
{
	enum shim_vault_status status;

	(void)k_mutex_lock(&store_lock, K_FOREVER);
	status = vault_store_remove(entry);
	(void)k_mutex_unlock(&store_lock);
	return status;
}

/* Another key for every entry: the label, the sealing key and the entry's id through SHA-256. */
psa_status_t
secure_storage_its_transform_aead_get_key(secure_storage_its_uid_t uid,
					  uint8_t key[static CONFIG_SECURE_STORAGE_ITS_TRANSFORM_AEAD_KEY_SIZE])
{
	/* Counter, secret, fixed information. */
	struct {
		uint8_t counter[4];
		uint8_t sealing_key[SENSOR_SEALING_KEY_BYTES];
		char label[sizeof(SEALING_LABEL)];
		uint32_t entry;
	} __packed input = {.counter = {0, 0, 0, 1}, .label = SEALING_LABEL, .entry = entry_of(uid)};
	psa_status_t status = PSA_ERROR_HARDWARE_FAILURE;
	size_t len;

	if (sensor_sealing_key(input.sealing_key) == 0) {
		/* Hashing takes no key slot: it may be called from inside PSA Crypto. */
		status = psa_hash_compute(PSA_ALG_SHA_256, (const uint8_t *)&input, sizeof(input), key,
					  CONFIG_SECURE_STORAGE_ITS_TRANSFORM_AEAD_KEY_SIZE, &len);
	}
	mbedtls_platform_zeroize(&input, sizeof(input));
	return status;
}
