/*
 * What the vault needs of C: PSA Crypto by key id (attributes are inline functions). Keys are numbered from 0;
 * PSA's own ids stay on the other side.
 */
#ifndef SHIM_VAULT_H_
#define SHIM_VAULT_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHIM_VAULT_SCALAR_BYTES 32
#define SHIM_VAULT_POINT_BYTES 65
#define SHIM_VAULT_DIGEST_BYTES 32
#define SHIM_VAULT_SIGNATURE_BYTES 64
#define SHIM_VAULT_SEALING_KEY_BYTES 32
/* Longest sealed value in bytes: 128 of PSA Crypto's, and flags, nonce and tag. */
#define SHIM_VAULT_VALUE_BYTES_MAX 157

/* PSA's statuses that the firmware tells apart. */
enum shim_vault_status {
	SHIM_VAULT_DONE,
	SHIM_VAULT_EMPTY,
	SHIM_VAULT_MEDIUM,
	SHIM_VAULT_SEALED,
	SHIM_VAULT_ENTROPY,
	SHIM_VAULT_REFUSED,
	SHIM_VAULT_FULL,
	SHIM_VAULT_NOT_WIPED,
	SHIM_VAULT_OTHER,
};

enum shim_vault_status shim_vault_start(void);
/* There must be no key with this number. */
enum shim_vault_status shim_vault_generate(uint32_t id, bool exportable);
enum shim_vault_status shim_vault_import(uint32_t id, bool exportable, const uint8_t scalar[SHIM_VAULT_SCALAR_BYTES]);
enum shim_vault_status shim_vault_public(uint32_t id, uint8_t point[SHIM_VAULT_POINT_BYTES]);
enum shim_vault_status shim_vault_sign(uint32_t id, const uint8_t digest[SHIM_VAULT_DIGEST_BYTES],
				       uint8_t signature[SHIM_VAULT_SIGNATURE_BYTES]);
/* Refused where the key was not made exportable. */
enum shim_vault_status shim_vault_export(uint32_t id, uint8_t scalar[SHIM_VAULT_SCALAR_BYTES]);
enum shim_vault_status shim_vault_destroy(uint32_t id);

/* Under which name PSA Crypto keeps this key in secure storage. */
uint32_t shim_vault_entry(uint32_t id);
/* Removes an entry that PSA Crypto cannot read any more, and therefore not destroy. */
enum shim_vault_status shim_vault_remove(uint32_t entry);

#ifdef CONFIG_SENSOR_SELF_TEST
/* tests/vault: a private key from below PSA Crypto. Negative on error. */
int self_test_unseal(uint32_t id, uint8_t scalar[SHIM_VAULT_SCALAR_BYTES]);
int self_test_age(uint32_t id);
#endif

/* Rust's (src/vault/store.rs): secure storage's entries in the partition. Called by one thread at a time. */
enum shim_vault_status vault_store_set(uint32_t entry, const uint8_t *data, size_t len);
enum shim_vault_status vault_store_get(uint32_t entry, uint8_t *data, size_t room, size_t *len);
enum shim_vault_status vault_store_remove(uint32_t entry);

/* A key that was made for deterministic signatures may make random ones as well; false where it is no such key. */
bool shim_vault_allow_random(uint32_t id);

#endif
