/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Entropy that has passed the health tests of NIST SP 800-90B. Owns the way from the board's entropy device through the
 * tests; never the tests, and never a byte that has not passed them. Serves R-ENTROPY.
 */
#define DT_DRV_COMPAT sensor_health_tested_entropy

#include <string.h>

#include <sensor_device/entropy_health.h>
#include <zephyr/device.h>
#include <zephyr/drivers/entropy.h>
#include <zephyr/kernel.h>
#include <zephyr/logging/log.h>

LOG_MODULE_REGISTER(health_tested_entropy, CONFIG_ENTROPY_LOG_LEVEL);

/* The tests have one state: there is one source. */
BUILD_ASSERT(DT_NUM_INST_STATUS_OKAY(DT_DRV_COMPAT) == 1,
	     "There is one sensor,health-tested-entropy, and all random numbers come from it.");
BUILD_ASSERT(IN_RANGE(DT_INST_PROP(0, min_entropy_bits), 1, 8),
	     "min-entropy-bits: a byte of the source has between 1 and 8 bits of entropy.");

static const struct device *const source = DEVICE_DT_GET(DT_INST_PHANDLE(0, source));
static K_MUTEX_DEFINE(lock);
static enum sensor_device_health health = SENSOR_DEVICE_HEALTH_STARTING;

/* Bytes that the source gives at a time while the start-up test goes on. */
#define START_UP_BYTES 64

static bool failed(void)
{
	return health == SENSOR_DEVICE_HEALTH_STUCK || health == SENSOR_DEVICE_HEALTH_BIASED;
}

/* Read and test; the bytes are gone where that fails. */
static int read_tested(uint8_t *buffer, uint16_t length)
{
	int error = entropy_get_entropy(source, buffer, length);

	if (error < 0) {
		/* It may answer the next time: nothing is wrong with what it gave before. */
		LOG_WRN("the entropy source %s does not answer (%d)", source->name, error);
	} else {
		health = sensor_device_health_test(buffer, length);
		if (failed()) {
			LOG_ERR("the entropy source %s is %s: no random numbers and no keys until the next start; replace the "
				"device if it returns",
				source->name, health == SENSOR_DEVICE_HEALTH_STUCK ? "stuck at one value" : "biased");
			error = -EIO;
		}
	}
	if (error < 0) {
		memset(buffer, 0, length);
	}
	return error;
}

static int start_up(void)
{
	uint8_t discarded[START_UP_BYTES];
	int error = 0;

	while (health == SENSOR_DEVICE_HEALTH_STARTING && error >= 0) {
		error = read_tested(discarded, sizeof(discarded));
	}
	return error;
}

static int get_entropy(const struct device *dev, uint8_t *buffer, uint16_t length)
{
	int error;

	ARG_UNUSED(dev);
	(void)k_mutex_lock(&lock, K_FOREVER);
	error = start_up();
	if (error >= 0) {
		/* Said once, by whoever saw it: silent from then on. */
		error = failed() ? -EIO : read_tested(buffer, length);
	}
	(void)k_mutex_unlock(&lock);
	return error < 0 ? error : 0;
}

static int init(const struct device *dev)
{
	ARG_UNUSED(dev);
	/* The devicetree puts the source before this one where both start in the same stage. */
	return device_is_ready(source) ? 0 : -ENODEV;
}

/* Not from interrupts: the tests follow the order of the bytes. */
static DEVICE_API(entropy, api) = {.get_entropy = get_entropy};

DEVICE_DT_INST_DEFINE(0, init, NULL, NULL, NULL, POST_KERNEL, CONFIG_ENTROPY_INIT_PRIORITY, &api);
