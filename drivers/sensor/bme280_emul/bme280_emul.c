/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * A BME280 on an emulated SPI bus: owns the bus protocol and what a test may do to the chip; knows
 * no register's meaning. Section numbers are those of the datasheet BST-BME280-DS002.
 * Serves R-BOARDS, R-FW-HEALTH.
 */

#define DT_DRV_COMPAT bosch_bme280

#include <errno.h>

#include <zephyr/device.h>
#include <zephyr/drivers/emul.h>
#include <zephyr/drivers/emul_sensor.h>
#include <zephyr/drivers/spi.h>
#include <zephyr/drivers/spi_emul.h>
#include <zephyr/kernel.h>
#include <zephyr/logging/log.h>
#include <zephyr/sys/util.h>

#include <sensor_device/bme280_emul.h>

#include "bme280_emul_internal.h"

LOG_MODULE_REGISTER(bme280_emul, CONFIG_SENSOR_LOG_LEVEL);

#define SPI_READ          BIT(7)
#define SPI_MAX_FREQUENCY MHZ(10)

/** Walks byte by byte through a set of SPI buffers. */
struct byte_walk {
	const struct spi_buf_set *set;
	size_t buffer;
	size_t offset;
};

/** The next byte's place, NULL where the caller sends or keeps nothing; false at the end. */
static bool next_byte(struct byte_walk *walk, uint8_t **byte)
{
	while (walk->set != NULL && walk->buffer < walk->set->count) {
		const struct spi_buf *buf = &walk->set->buffers[walk->buffer];

		if (walk->offset < buf->len) {
			*byte = buf->buf == NULL ? NULL : (uint8_t *)buf->buf + walk->offset;
			walk->offset++;
			return true;
		}
		walk->buffer++;
		walk->offset = 0;
	}
	*byte = NULL;
	return false;
}

/** 6.3: a control byte, then data bytes; reads go on, writes come in pairs of control and data. */
static void transfer(struct bme280_emul_chip *chip, const struct spi_buf_set *tx_bufs,
		     const struct spi_buf_set *rx_bufs)
{
	struct byte_walk tx = {.set = tx_bufs};
	struct byte_walk rx = {.set = rx_bufs};
	bool control_expected = true;
	bool reading = false;
	uint8_t reg = 0;

	while (true) {
		uint8_t *out;
		uint8_t *in;
		bool sent = next_byte(&tx, &out);
		bool received = next_byte(&rx, &in);
		uint8_t value = out == NULL ? 0 : *out;

		if (!sent && !received) {
			break;
		}
		if (in != NULL) {
			*in = reading ? bme280_emul_chip_read(chip, reg) : 0;
		}
		if (reading) {
			reg = (reg + 1) | SPI_READ;
		} else if (control_expected) {
			/* Bit 7 of every register's address is set, so the bus uses it. */
			reading = (value & SPI_READ) != 0;
			reg = value | SPI_READ;
			control_expected = false;
		} else {
			bme280_emul_chip_write(chip, reg, value);
			control_expected = true;
		}
	}
}

static int bme280_emul_io(const struct emul *target, const struct spi_config *config,
			  const struct spi_buf_set *tx_bufs, const struct spi_buf_set *rx_bufs)
{
	struct bme280_emul_chip *chip = target->data;
	spi_operation_t mode = config->operation;
	bool cpol = (mode & SPI_MODE_CPOL) != 0;
	bool cpha = (mode & SPI_MODE_CPHA) != 0;
	int ret = 0;

	/* A real chip would answer nonsense; say what is wrong with the devicetree instead. */
	if (cpol != cpha || (mode & SPI_TRANSFER_LSB) != 0 || SPI_WORD_SIZE_GET(mode) != 8 ||
	    config->frequency > SPI_MAX_FREQUENCY) {
		LOG_ERR("%s: needs SPI mode 0 or 3, MSB first, 8 bits and at most 10 MHz",
			target->dev->name);
		return -EINVAL;
	}

	K_SPINLOCK(&chip->lock) {
		bme280_emul_chip_catch_up(chip);
		if (chip->fault == BME280_EMUL_FAULT_NO_ANSWER) {
			ret = -EIO;
		} else {
			transfer(chip, tx_bufs, rx_bufs);
		}
	}
	return ret;
}

static const struct spi_emul_api bme280_emul_spi_api = {
	.io = bme280_emul_io,
};

static bool in_range(const struct bme280_emul_sample *sample)
{
	return IN_RANGE(sample->centi_celsius, BME280_EMUL_CENTI_CELSIUS_MIN,
			BME280_EMUL_CENTI_CELSIUS_MAX) &&
	       IN_RANGE(sample->centi_percent, BME280_EMUL_CENTI_PERCENT_MIN,
			BME280_EMUL_CENTI_PERCENT_MAX) &&
	       IN_RANGE(sample->centi_pascal, BME280_EMUL_CENTI_PASCAL_MIN,
			BME280_EMUL_CENTI_PASCAL_MAX);
}

static bool is_bme280(const struct emul *target);

int bme280_emul_set_sample(const struct emul *target, const struct bme280_emul_sample *sample)
{
	struct bme280_emul_chip *chip;

	if (!is_bme280(target) || sample == NULL) {
		return -EINVAL;
	}
	if (!in_range(sample)) {
		return -ERANGE;
	}

	chip = target->data;
	K_SPINLOCK(&chip->lock) {
		bme280_emul_chip_catch_up(chip);
		chip->sample = *sample;
	}
	return 0;
}

int bme280_emul_set_fault(const struct emul *target, enum bme280_emul_fault fault)
{
	struct bme280_emul_chip *chip;

	if (!is_bme280(target) || (int)fault < BME280_EMUL_FAULT_NONE ||
	    fault > BME280_EMUL_FAULT_STUCK_BUSY) {
		return -EINVAL;
	}

	chip = target->data;
	K_SPINLOCK(&chip->lock) {
		bme280_emul_chip_catch_up(chip);
		chip->fault = fault;
	}
	return 0;
}

int bme280_emul_set_drift(const struct emul *target, bool on)
{
	struct bme280_emul_chip *chip;

	if (!is_bme280(target)) {
		return -EINVAL;
	}

	chip = target->data;
	K_SPINLOCK(&chip->lock) {
		bme280_emul_chip_catch_up(chip);
		chip->drift = on;
		chip->drift_since_us = bme280_emul_now_us();
	}
	return 0;
}

/** How the sensor API's unit of a channel relates to the sample's hundredths. */
struct backend_channel {
	int32_t min, max;
	/** Hundredths per unit of the sensor API. */
	int32_t scale;
	/** Largest deviation of a reading, in hundredths. */
	int32_t epsilon;
	/** q31 shift that holds the range. */
	int8_t shift;
};

/** The entry for @p ch and its place in @p sample; NULL if the chip has no such channel. */
static const struct backend_channel *find_channel(struct sensor_chan_spec ch,
						  struct bme280_emul_sample *sample,
						  int32_t **value)
{
	static const struct backend_channel temperature = {
		BME280_EMUL_CENTI_CELSIUS_MIN, BME280_EMUL_CENTI_CELSIUS_MAX, 100, 1, 7};
	static const struct backend_channel humidity = {
		BME280_EMUL_CENTI_PERCENT_MIN, BME280_EMUL_CENTI_PERCENT_MAX, 100, 2, 7};
	/* In kPa. A step of the code is up to 0.2 Pa, at 16 bits 16 times that; half is the deviation. */
	static const struct backend_channel pressure = {
		BME280_EMUL_CENTI_PASCAL_MIN, BME280_EMUL_CENTI_PASCAL_MAX, 100000, 200, 7};

	if (ch.chan_idx != 0) {
		return NULL;
	}

	switch (ch.chan_type) {
	case SENSOR_CHAN_AMBIENT_TEMP:
		*value = &sample->centi_celsius;
		return &temperature;
	case SENSOR_CHAN_HUMIDITY:
		*value = &sample->centi_percent;
		return &humidity;
	case SENSOR_CHAN_PRESS:
		*value = &sample->centi_pascal;
		return &pressure;
	default:
		return NULL;
	}
}

/** @p hundredths as q31 with the channel's shift. */
static q31_t to_q31(const struct backend_channel *channel, int32_t hundredths)
{
	return (q31_t)(hundredths * (INT64_C(1) << (31 - channel->shift)) / channel->scale);
}

static int backend_set_channel(const struct emul *target, struct sensor_chan_spec ch,
			       const q31_t *value, int8_t shift)
{
	struct bme280_emul_chip *chip = target->data;
	struct bme280_emul_sample sample;
	int32_t *place;
	const struct backend_channel *channel = find_channel(ch, &sample, &place);
	int64_t scaled;

	if (channel == NULL) {
		return -ENOTSUP;
	}
	if (value == NULL || !IN_RANGE(shift, -31, 31)) {
		return -EINVAL;
	}

	scaled = (int64_t)*value * channel->scale;
	if (shift > 0) {
		int64_t limit = INT64_MAX >> (shift + 1);

		if (!IN_RANGE(scaled, -limit, limit)) {
			return -ERANGE;
		}
		scaled *= INT64_C(1) << shift;
		scaled = DIV_ROUND_CLOSEST(scaled, INT64_C(1) << 31);
	} else {
		scaled = DIV_ROUND_CLOSEST(scaled, INT64_C(1) << (31 - shift));
	}
	if (!IN_RANGE(scaled, channel->min, channel->max)) {
		return -ERANGE;
	}

	K_SPINLOCK(&chip->lock) {
		bme280_emul_chip_catch_up(chip);
		sample = chip->sample;
		*place = (int32_t)scaled;
		chip->sample = sample;
	}
	return 0;
}

static int backend_get_sample_range(const struct emul *target, struct sensor_chan_spec ch,
				    q31_t *lower, q31_t *upper, q31_t *epsilon, int8_t *shift)
{
	struct bme280_emul_sample sample;
	int32_t *place;
	const struct backend_channel *channel = find_channel(ch, &sample, &place);

	ARG_UNUSED(target);

	if (channel == NULL) {
		return -ENOTSUP;
	}
	if (lower == NULL || upper == NULL || epsilon == NULL || shift == NULL) {
		return -EINVAL;
	}

	*lower = to_q31(channel, channel->min);
	*upper = to_q31(channel, channel->max);
	*epsilon = to_q31(channel, channel->epsilon);
	*shift = channel->shift;
	return 0;
}

static DEVICE_API(emul_sensor, bme280_emul_backend_api) = {
	.set_channel = backend_set_channel,
	.get_sample_range = backend_get_sample_range,
};

static bool is_bme280(const struct emul *target)
{
	return target != NULL && target->backend_api == &bme280_emul_backend_api;
}

struct bme280_emul_boot bme280_emul_boot = {
	.sample = {.centi_celsius = 2500, .centi_percent = 5000, .centi_pascal = 10132500},
};

static int bme280_emul_init(const struct emul *target, const struct device *parent)
{
	struct bme280_emul_chip *chip = target->data;

	ARG_UNUSED(parent);

	chip->sample = bme280_emul_boot.sample;
	chip->fault = bme280_emul_boot.fault;
	chip->drift = bme280_emul_boot.drift;
	chip->drift_since_us = bme280_emul_now_us();
	bme280_emul_chip_reset(chip);
	return 0;
}

#define BME280_EMUL_DEFINE(inst)                                                                   \
	static struct bme280_emul_chip bme280_emul_chip_##inst;                                    \
	EMUL_DT_INST_DEFINE(inst, bme280_emul_init, &bme280_emul_chip_##inst, NULL,                \
			    &bme280_emul_spi_api, &bme280_emul_backend_api)

/* A node on another bus is not ours. */
#define BME280_EMUL_DEFINE_ON_SPI(inst)                                                            \
	IF_ENABLED(DT_INST_ON_BUS(inst, spi), (BME280_EMUL_DEFINE(inst)))

DT_INST_FOREACH_STATUS_OKAY(BME280_EMUL_DEFINE_ON_SPI)
