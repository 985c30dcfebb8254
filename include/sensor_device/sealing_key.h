/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The key that seals the vault, which the board supplies. Owns the interface only: docs/vault.md says where the vendors
 * keep such a key. Serves R-SECRET-STORE.
 */
#ifndef SENSOR_DEVICE_SEALING_KEY_H_
#define SENSOR_DEVICE_SEALING_KEY_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Length of the key in bytes. */
#define SENSOR_SEALING_KEY_BYTES 32

/**
 * @brief Write the key that seals what the vault keeps in flash.
 *
 * A board that has one implements this and selects SENSOR_HAS_SEALING_KEY. The key must be the same at every start, of
 * this device only, and not to be had by who reads the flash: from a hardware unique key, or made once and kept where a
 * debugger does not reach. Called from any thread, often: it must neither block for long nor use PSA Crypto's keys. The
 * caller wipes it.
 *
 * @param key Where the key goes.
 * @retval 0 It is there.
 * @retval -errno It cannot be had: the vault stays shut.
 */
int sensor_sealing_key(uint8_t key[SENSOR_SEALING_KEY_BYTES]);

#ifdef __cplusplus
}
#endif

#endif /* SENSOR_DEVICE_SEALING_KEY_H_ */
