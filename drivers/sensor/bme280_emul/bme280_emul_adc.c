/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The way between physical values and the ADC codes of a BME280: owns the emulated chip's trimming
 * and finds, by search over the compensation, the code a chip would have measured. Knows no bus.
 * Section numbers are those of the datasheet BST-BME280-DS002.
 */

#include <zephyr/sys/util.h>

#include "bme280_emul_internal.h"

#define REG_CALIB00 0x88
#define REG_CALIB25 0xA1
#define REG_CALIB26 0xE1

/* Signed on purpose: with BIT() a negative sum would turn into a large unsigned one. */
#define POW2(n) (INT64_C(1) << (n))

/* Temperature and pressure: the worked example of the BMP280 datasheet (BST-BMP280-DS001, 3.12),
 * whose formulas are the same; the BME280's has none. Humidity: chosen in the range of real chips,
 * so that 0..100 %RH at -40..85 degC stays inside 16 bits. H4 and H5 are positive as on real chips:
 * Zephyr 4.3's driver does not extend the sign of these 12-bit numbers.
 */
const struct bme280_emul_calibration bme280_emul_calibration = {
	.t1 = 27504, .t2 = 26435, .t3 = -1000,
	.p1 = 36477, .p2 = -10685, .p3 = 3024,
	.p4 = 2855,  .p5 = 140,    .p6 = -7,
	.p7 = 15500, .p8 = -14600, .p9 = 6000,
	.h1 = 75,    .h2 = 363,    .h3 = 0,
	.h4 = 328,   .h5 = 50,     .h6 = 30,
};

uint8_t bme280_emul_calibration_register(uint8_t reg)
{
	const struct bme280_emul_calibration *c = &bme280_emul_calibration;
	const uint16_t words[] = {
		c->t1, (uint16_t)c->t2, (uint16_t)c->t3, c->p1,
		(uint16_t)c->p2, (uint16_t)c->p3, (uint16_t)c->p4, (uint16_t)c->p5,
		(uint16_t)c->p6, (uint16_t)c->p7, (uint16_t)c->p8, (uint16_t)c->p9,
	};
	const uint8_t humidity[] = {
		(uint8_t)c->h2,
		(uint8_t)(c->h2 >> 8),
		c->h3,
		(uint8_t)(c->h4 >> 4),
		/* H4 and H5 share a byte: H5 has the upper half. */
		(uint8_t)((c->h4 & 0x0F) | ((c->h5 & 0x0F) << 4)),
		(uint8_t)(c->h5 >> 4),
		(uint8_t)c->h6,
	};

	if (reg >= REG_CALIB00 && reg < REG_CALIB00 + sizeof(words)) {
		uint8_t offset = reg - REG_CALIB00;

		return (uint8_t)(words[offset / 2] >> (8 * (offset % 2)));
	}
	if (reg == REG_CALIB25) {
		return c->h1;
	}
	if (reg >= REG_CALIB26 && reg < REG_CALIB26 + sizeof(humidity)) {
		return humidity[reg - REG_CALIB26];
	}
	return 0;
}

/* The formulas follow 4.2.3 to the bit, shifts of negative numbers rounding down included, but in
 * 64 bits throughout: no intermediate result can overflow for any ADC code, so there is nothing to
 * be undefined. Multiplication stands where the datasheet shifts a negative number to the left.
 */

int32_t bme280_emul_fine_temperature(int32_t adc_temperature)
{
	const struct bme280_emul_calibration *c = &bme280_emul_calibration;
	int64_t linear = (((adc_temperature >> 3) - 2 * (int64_t)c->t1) * c->t2) >> 11;
	int64_t offset = (adc_temperature >> 4) - (int64_t)c->t1;
	int64_t square = (((offset * offset) >> 12) * c->t3) >> 14;

	return (int32_t)(linear + square);
}

int32_t bme280_emul_centi_celsius(int32_t fine_temperature)
{
	return (fine_temperature * 5 + 128) >> 8;
}

int64_t bme280_emul_pressure_q8(int32_t adc_pressure, int32_t fine_temperature)
{
	const struct bme280_emul_calibration *c = &bme280_emul_calibration;
	/* Distance from 25 degC. */
	int64_t t = (int64_t)fine_temperature - 128000;
	int64_t offset = t * t * c->p6 + t * c->p5 * POW2(17) + c->p4 * POW2(35);
	int64_t sensitivity = ((t * t * c->p3) >> 8) + t * c->p2 * POW2(12);
	int64_t p, square, linear;

	/* Never 0 with this trimming at -40..85 degC: the first term is ten times the second. */
	sensitivity = (POW2(47) + sensitivity) * c->p1 >> 33;

	p = (POW2(20) - adc_pressure) * POW2(31) - offset;
	p = p * 3125 / sensitivity;
	square = ((p >> 13) * (p >> 13) * c->p9) >> 25;
	linear = (p * c->p8) >> 19;

	return ((p + square + linear) >> 8) + c->p7 * 16;
}

int64_t bme280_emul_humidity_q10(int32_t adc_humidity, int32_t fine_temperature)
{
	const struct bme280_emul_calibration *c = &bme280_emul_calibration;
	/* Distance from 15 degC. */
	int64_t t = (int64_t)fine_temperature - 76800;
	int64_t signal = (adc_humidity * POW2(14) - c->h4 * POW2(20) - c->h5 * t +
			  POW2(14)) >> 15;
	int64_t slope = (((t * c->h6) >> 10) * (((t * c->h3) >> 11) + POW2(15))) >> 10;
	int64_t h = signal * (((slope + POW2(21)) * c->h2 + POW2(13)) >> 14);

	/* The sensor bends downwards with humidity; H1 says how much. */
	h -= ((((h >> 15) * (h >> 15)) >> 7) * c->h1) >> 4;

	return h >> 12;
}

static int64_t growing_temperature(int32_t code, int32_t fine_temperature)
{
	/* The fine one, because many codes read the same hundredth of a degree. */
	ARG_UNUSED(fine_temperature);
	return bme280_emul_fine_temperature(code);
}

static int64_t growing_pressure(int32_t code, int32_t fine_temperature)
{
	/* Pressure falls as its code grows. */
	return -bme280_emul_pressure_q8(code, fine_temperature);
}

struct channel {
	/** A compensation that grows with its ADC code. */
	int64_t (*reading)(int32_t code, int32_t fine_temperature);
	/** Whoever compensates holds the result to this range. */
	int64_t lowest, highest;
	uint8_t field_bits;
};

static const struct channel temperature = {growing_temperature, INT64_MIN, INT64_MAX, 20};
static const struct channel pressure = {growing_pressure, INT64_MIN, INT64_MAX, 20};
static const struct channel humidity = {bme280_emul_humidity_q10, 0, 100 * 1024, 16};

static int64_t held_reading(const struct channel *channel, int32_t code, int32_t fine_temperature)
{
	return CLAMP(channel->reading(code, fine_temperature), channel->lowest, channel->highest);
}

/** The code, of @p bits significant bits, that reads nearest to @p wanted. */
static int32_t nearest_code(const struct channel *channel, uint8_t bits, int32_t fine_temperature,
			    int64_t wanted)
{
	int32_t step = (int32_t)BIT(channel->field_bits - bits);
	int32_t low = 0;
	int32_t high = (int32_t)BIT(bits) - 1;

	/* The smallest code that reads at least what is wanted. */
	while (low < high) {
		int32_t middle = (low + high) / 2;

		if (channel->reading(middle * step, fine_temperature) >= wanted) {
			high = middle;
		} else {
			low = middle + 1;
		}
	}

	if (low > 0) {
		int64_t above = held_reading(channel, low * step, fine_temperature) - wanted;
		int64_t below = wanted - held_reading(channel, (low - 1) * step, fine_temperature);

		if (below < above) {
			low--;
		}
	}
	return low * step;
}

struct bme280_emul_adc bme280_emul_find_adc(const struct bme280_emul_sample *sample,
					    uint8_t temperature_bits, uint8_t pressure_bits)
{
	int64_t fine_wanted = DIV_ROUND_CLOSEST((int64_t)sample->centi_celsius * 5120, 100);
	int64_t pressure_q8 = DIV_ROUND_CLOSEST((int64_t)sample->centi_pascal * 256, 100);
	int64_t humidity_q10 = DIV_ROUND_CLOSEST((int64_t)sample->centi_percent * 1024, 100);
	struct bme280_emul_adc adc;
	int32_t fine;

	adc.temperature = nearest_code(&temperature, temperature_bits, 0, fine_wanted);
	/* Whoever compensates uses the temperature that was measured, not the one that was set. */
	fine = bme280_emul_fine_temperature(adc.temperature);
	adc.pressure = nearest_code(&pressure, pressure_bits, fine, -pressure_q8);
	adc.humidity = nearest_code(&humidity, humidity.field_bits, fine, humidity_q10);
	return adc;
}
