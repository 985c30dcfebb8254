/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The health tests of NIST SP 800-90B, section 4, as the driver of sensor,health-tested-entropy calls them. Owns the
 * interface only: src/entropy.rs of this repository brings the tests, another product links its own. Serves R-ENTROPY.
 */
#ifndef SENSOR_DEVICE_ENTROPY_HEALTH_H_
#define SENSOR_DEVICE_ENTROPY_HEALTH_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What the tests say of the source. */
enum sensor_device_health {
	/** No test has failed since the start, and the start-up test is over. */
	SENSOR_DEVICE_HEALTH_GOOD = 0,
	/** None has failed, but the start-up test goes on: what was tested must not be used. */
	SENSOR_DEVICE_HEALTH_STARTING = 1,
	/** The repetition count test has failed: the source gives nothing more until the next start. */
	SENSOR_DEVICE_HEALTH_STUCK = 2,
	/** The adaptive proportion test has failed: the source gives nothing more until the next start. */
	SENSOR_DEVICE_HEALTH_BIASED = 3,
};

/**
 * @brief Test what the source gave, every byte of it, in the order in which it came.
 *
 * Called by one thread at a time. After a failure it says so for ever. What it asks of the source follows from the
 * property min-entropy-bits of the devicetree's node.
 *
 * @param samples Bytes of the source.
 * @param len How many.
 */
enum sensor_device_health sensor_device_health_test(const uint8_t *samples, size_t len);

#ifdef __cplusplus
}
#endif

#endif /* SENSOR_DEVICE_ENTROPY_HEALTH_H_ */
