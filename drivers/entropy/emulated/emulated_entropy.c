/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * A source of numbers that look random, are the same at every start, and can be broken. Owns no secret: nothing that is
 * made of them is one, which is why Kconfig builds it for emulated boards only. Serves R-ENTROPY's tests.
 */
#define DT_DRV_COMPAT sensor_emulated_entropy

#include <errno.h>

#include <sensor_device/emulated_entropy.h>
#include <zephyr/device.h>
#include <zephyr/drivers/entropy.h>
#include <zephyr/kernel.h>

BUILD_ASSERT(DT_NUM_INST_STATUS_OKAY(DT_DRV_COMPAT) == 1);

/* What a stuck source gives, and a biased one mostly. */
#define STUCK_BYTE 0x5a

static enum emulated_entropy_fault fault;
static unsigned int good_bytes;

void emulated_entropy_set_fault(enum emulated_entropy_fault wanted)
{
	emulated_entropy_set_fault_after(wanted, 0);
}

void emulated_entropy_set_fault_after(enum emulated_entropy_fault wanted, unsigned int bytes)
{
	fault = wanted;
	good_bytes = bytes;
}

/* xorshift64* (Marsaglia 2003, Vigna 2014): its upper bytes pass statistical tests. */
static uint64_t next_number(void)
{
	static uint64_t state = 0x9e3779b97f4a7c15;

	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1d;
}

static uint8_t next_byte(void)
{
	uint64_t number = next_number();
	uint8_t byte = number >> 56;

	if (good_bytes > 0) {
		good_bytes--;
		return byte;
	}
	switch (fault) {
	case EMULATED_ENTROPY_FAULT_STUCK:
		return STUCK_BYTE;
	case EMULATED_ENTROPY_FAULT_BIASED:
		return (number >> 40) % 4 == 0 ? byte : STUCK_BYTE;
	default:
		return byte;
	}
}

static int get_entropy(const struct device *dev, uint8_t *buffer, uint16_t length)
{
	ARG_UNUSED(dev);
	for (uint16_t i = 0; i < length; i++) {
		if (fault == EMULATED_ENTROPY_FAULT_NO_ANSWER && good_bytes == 0) {
			return -EIO;
		}
		buffer[i] = next_byte();
	}
	return 0;
}

static int init(const struct device *dev)
{
	ARG_UNUSED(dev);
	printk("WARNING: the entropy source is an emulation: no secret made on this board is one\n");
	return 0;
}

static DEVICE_API(entropy, api) = {.get_entropy = get_entropy};

DEVICE_DT_INST_DEFINE(0, init, NULL, NULL, NULL, PRE_KERNEL_1, CONFIG_ENTROPY_INIT_PRIORITY, &api);
