/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The BME280 behind the bus: owns the chip's registers, modes and timing, after the datasheet
 * BST-BME280-DS002 (section and table numbers are its). Time passes lazily: before anyone looks or
 * changes anything, the chip catches up with what it would have finished by now.
 * Not emulated: the IIR filter's smoothing (only its effect on resolution) and 3-wire SPI.
 */

#include <string.h>

#include <zephyr/kernel.h>
#include <zephyr/logging/log.h>
#include <zephyr/sys/util.h>

#include "bme280_emul_internal.h"

LOG_MODULE_DECLARE(bme280_emul, CONFIG_SENSOR_LOG_LEVEL);

#define REG_ID        0xD0
#define REG_RESET     0xE0
#define REG_CTRL_HUM  0xF2
#define REG_STATUS    0xF3
#define REG_CTRL_MEAS 0xF4
#define REG_CONFIG    0xF5
#define REG_DATA      0xF7

#define CHIP_ID          0x60
#define WRONG_CHIP_ID    0x55
#define RESET_COMMAND    0xB6
#define STATUS_MEASURING BIT(3)
#define STATUS_IM_UPDATE BIT(0)

#define CTRL_HUM_OVERSAMPLING(reg)         ((reg) & 0x07)
#define CTRL_MEAS_TEMPERATURE_SAMPLES(reg) ((reg) >> 5)
#define CTRL_MEAS_PRESSURE_SAMPLES(reg)    (((reg) >> 2) & 0x07)
#define CTRL_MEAS_MODE(reg)                ((reg) & 0x03)
#define CTRL_MEAS_MODE_MASK                0x03
#define CONFIG_STANDBY(reg)                ((reg) >> 5)
#define CONFIG_FILTER(reg)                 (((reg) >> 2) & 0x07)

#define MODE_SLEEP  0
#define MODE_NORMAL 3 /* 1 and 2 both mean forced */

/* Table 1: start-up time, taken as the time the copy of the trimming takes after a reset. */
#define START_UP_US 2000

#define NO_PENDING_MODE (-1)

int64_t bme280_emul_now_us(void)
{
	return (int64_t)k_ticks_to_us_floor64(k_uptime_ticks());
}

/** How many samples a measurement takes: 0, 1, 2, 4, 8 or 16 (tables 20, 23, 24). */
static int oversampling(uint8_t code)
{
	return code == 0 ? 0 : 1 << (MIN(code, 5) - 1);
}

/** 9.1, typical. */
static int64_t measurement_us(const struct bme280_emul_chip *chip)
{
	int temperature = oversampling(CTRL_MEAS_TEMPERATURE_SAMPLES(chip->ctrl_meas));
	int pressure = oversampling(CTRL_MEAS_PRESSURE_SAMPLES(chip->ctrl_meas));
	int humidity = oversampling(CTRL_HUM_OVERSAMPLING(chip->ctrl_hum));

	return 1000 + 2000 * temperature + (pressure > 0 ? 2000 * pressure + 500 : 0) +
	       (humidity > 0 ? 2000 * humidity + 500 : 0);
}

/** Table 27. */
static int64_t standby_us(const struct bme280_emul_chip *chip)
{
	static const int32_t standby[] = {500,    62500,   125000, 250000,
					  500000, 1000000, 10000,  20000};

	return standby[CONFIG_STANDBY(chip->config)];
}

/** 3.4.2 and 3.4.3: full resolution with the filter, else 16 bits and one more per doubling. */
static uint8_t resolution_bits(const struct bme280_emul_chip *chip, uint8_t oversampling_code)
{
	if (CONFIG_FILTER(chip->config) != 0) {
		return 20;
	}
	return 16 + CLAMP(oversampling_code, 1, 5) - 1;
}

/** 0, up to @p amplitude, down to -@p amplitude and back to 0 within @p period_s. */
static int32_t triangle(int64_t time_us, int32_t period_s, int32_t amplitude)
{
	int64_t quarter = (int64_t)period_s * USEC_PER_SEC / 4;
	int64_t phase = time_us % (4 * quarter);

	if (phase >= 3 * quarter) {
		phase -= 4 * quarter;
	} else if (phase > quarter) {
		phase = 2 * quarter - phase;
	}
	return (int32_t)(phase * amplitude / quarter);
}

static struct bme280_emul_sample sample_at(const struct bme280_emul_chip *chip, int64_t time_us)
{
	struct bme280_emul_sample sample = chip->sample;
	int64_t t = time_us - chip->drift_since_us;

	/* A measurement that ended before the drift was switched on is still to be recorded. */
	if (chip->drift && t > 0) {
		sample.centi_celsius = CLAMP(sample.centi_celsius + triangle(t, 300, 50),
					     BME280_EMUL_CENTI_CELSIUS_MIN,
					     BME280_EMUL_CENTI_CELSIUS_MAX);
		sample.centi_percent = CLAMP(sample.centi_percent + triangle(t, 420, 200),
					     BME280_EMUL_CENTI_PERCENT_MIN,
					     BME280_EMUL_CENTI_PERCENT_MAX);
		sample.centi_pascal = CLAMP(sample.centi_pascal + triangle(t, 660, 5000),
					    BME280_EMUL_CENTI_PASCAL_MIN,
					    BME280_EMUL_CENTI_PASCAL_MAX);
	}
	return sample;
}

/** Write the data registers as a measurement that ends at @p time_us would (5.4.7 to 5.4.9). */
static void record_measurement(struct bme280_emul_chip *chip, int64_t time_us)
{
	uint8_t temperature = CTRL_MEAS_TEMPERATURE_SAMPLES(chip->ctrl_meas);
	uint8_t pressure = CTRL_MEAS_PRESSURE_SAMPLES(chip->ctrl_meas);
	uint8_t humidity = CTRL_HUM_OVERSAMPLING(chip->ctrl_hum);
	struct bme280_emul_sample sample = sample_at(chip, time_us);
	struct bme280_emul_adc adc = bme280_emul_find_adc(
		&sample, resolution_bits(chip, temperature), resolution_bits(chip, pressure));

	/* A channel that is skipped reads as after a reset. */
	if (temperature == 0) {
		adc.temperature = 0x80000;
	}
	if (pressure == 0) {
		adc.pressure = 0x80000;
	}
	if (humidity == 0) {
		adc.humidity = 0x8000;
	}

	chip->data[0] = (uint8_t)(adc.pressure >> 12);
	chip->data[1] = (uint8_t)(adc.pressure >> 4);
	chip->data[2] = (uint8_t)(adc.pressure << 4);
	chip->data[3] = (uint8_t)(adc.temperature >> 12);
	chip->data[4] = (uint8_t)(adc.temperature >> 4);
	chip->data[5] = (uint8_t)(adc.temperature << 4);
	chip->data[6] = (uint8_t)(adc.humidity >> 8);
	chip->data[7] = (uint8_t)adc.humidity;
}

static void enter_mode(struct bme280_emul_chip *chip, uint8_t ctrl_meas, int64_t time_us)
{
	chip->ctrl_meas = ctrl_meas;
	chip->ctrl_hum = chip->ctrl_hum_written;
	chip->pending_ctrl_meas = NO_PENDING_MODE;
	chip->phase = CTRL_MEAS_MODE(ctrl_meas) == MODE_SLEEP ? BME280_EMUL_SLEEP : BME280_EMUL_MEASURING;
	chip->phase_since_us = time_us;
}

/** End the measurement that ended at @p time_us. */
static void end_measurement(struct bme280_emul_chip *chip, int64_t time_us)
{
	record_measurement(chip, time_us);
	chip->phase_since_us = time_us;
	if (chip->pending_ctrl_meas != NO_PENDING_MODE) {
		enter_mode(chip, (uint8_t)chip->pending_ctrl_meas, time_us);
	} else if (CTRL_MEAS_MODE(chip->ctrl_meas) == MODE_NORMAL) {
		chip->phase = BME280_EMUL_STANDBY;
	} else {
		chip->ctrl_meas &= ~CTRL_MEAS_MODE_MASK;
		chip->phase = BME280_EMUL_SLEEP;
	}
}

void bme280_emul_chip_catch_up(struct bme280_emul_chip *chip)
{
	int64_t now = bme280_emul_now_us();

	if (chip->fault == BME280_EMUL_FAULT_STUCK_BUSY) {
		return;
	}

	while (chip->phase != BME280_EMUL_SLEEP) {
		int64_t ends;

		if (chip->phase == BME280_EMUL_MEASURING) {
			ends = chip->phase_since_us + measurement_us(chip);
			if (ends > now) {
				break;
			}
			end_measurement(chip, ends);
		} else {
			int64_t cycle = standby_us(chip) + measurement_us(chip);
			int64_t cycles = (now - chip->phase_since_us) / cycle;

			/* Of many whole cycles only the last leaves a trace. */
			if (cycles > 1) {
				chip->phase_since_us += (cycles - 1) * cycle;
			}
			ends = chip->phase_since_us + standby_us(chip);
			if (ends > now) {
				break;
			}
			chip->phase = BME280_EMUL_MEASURING;
			chip->phase_since_us = ends;
		}
	}
}

void bme280_emul_chip_reset(struct bme280_emul_chip *chip)
{
	static const uint8_t data_after_reset[] = {0x80, 0, 0, 0x80, 0, 0, 0x80, 0};

	BUILD_ASSERT(sizeof(data_after_reset) == sizeof(chip->data));

	memcpy(chip->data, data_after_reset, sizeof(chip->data));
	chip->config = 0;
	chip->ctrl_hum_written = 0;
	enter_mode(chip, 0, bme280_emul_now_us());
	chip->start_up_ends_us = bme280_emul_now_us() + START_UP_US;
}

uint8_t bme280_emul_chip_read(const struct bme280_emul_chip *chip, uint8_t reg)
{
	uint8_t status = 0;

	switch (reg) {
	case REG_ID:
		return chip->fault == BME280_EMUL_FAULT_BAD_ID ? WRONG_CHIP_ID : CHIP_ID;
	case REG_CTRL_HUM:
		return chip->ctrl_hum_written;
	case REG_STATUS:
		if (chip->phase == BME280_EMUL_MEASURING ||
		    chip->fault == BME280_EMUL_FAULT_STUCK_BUSY) {
			status |= STATUS_MEASURING;
		}
		if (bme280_emul_now_us() < chip->start_up_ends_us) {
			status |= STATUS_IM_UPDATE;
		}
		return status;
	case REG_CTRL_MEAS:
		return chip->ctrl_meas;
	case REG_CONFIG:
		return chip->config;
	default:
		if (reg >= REG_DATA && reg < REG_DATA + sizeof(chip->data)) {
			return chip->data[reg - REG_DATA];
		}
		return bme280_emul_calibration_register(reg);
	}
}

void bme280_emul_chip_write(struct bme280_emul_chip *chip, uint8_t reg, uint8_t value)
{
	switch (reg) {
	case REG_RESET:
		if (value == RESET_COMMAND) {
			bme280_emul_chip_reset(chip);
		}
		break;
	case REG_CTRL_HUM:
		/* 3.3.1: while a mode change waits, further writes are ignored. */
		if (chip->pending_ctrl_meas == NO_PENDING_MODE) {
			chip->ctrl_hum_written = CTRL_HUM_OVERSAMPLING(value);
		}
		break;
	case REG_CTRL_MEAS:
		if (chip->phase != BME280_EMUL_MEASURING) {
			enter_mode(chip, value, bme280_emul_now_us());
		} else if (chip->pending_ctrl_meas == NO_PENDING_MODE) {
			chip->pending_ctrl_meas = value;
		}
		break;
	case REG_CONFIG:
		/* 5.4.6: may be ignored in normal mode. The emulated chip always does. */
		if (CTRL_MEAS_MODE(chip->ctrl_meas) == MODE_NORMAL) {
			LOG_WRN("write to config ignored in normal mode");
		} else {
			chip->config = value & ~BIT(1);
		}
		break;
	default:
		LOG_WRN("write to read-only register 0x%02x ignored", reg);
		break;
	}
}
