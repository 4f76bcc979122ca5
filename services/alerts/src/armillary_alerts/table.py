"""The alert table: one row an alert, the same columns for every survey.

It is what users' filters see, what the archive keeps and what `topics.ANNOTATED` carries. UCDs are from the IVOA's
list (https://www.ivoa.net/documents/UCD1+/), units as in VOUnits. Magnitudes are AB, times MJD in TAI unless said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

#: Grows by one with each change of the columns; stands in the schema's metadata and in archived files.
VERSION: Final = 1

#: Order of `healpix`, nested: the finest that fits 64 bits, as in HATS catalogues.
HEALPIX_ORDER: Final = 29

#: Order of the archive's `hpx` directories: 768 cells of 54 square degrees.
PARTITION_ORDER: Final = 3

_XMATCH = pa.struct(
    [
        pa.field("catalog", pa.string()),
        pa.field("id", pa.string()),
        pa.field("distance", pa.float32()),
        pa.field("kind", pa.string()),
        pa.field("mag", pa.float32()),
        pa.field("redshift", pa.float32()),
    ]
)

_ANNOTATION = pa.struct(
    [
        pa.field("annotator", pa.string()),
        pa.field("label", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("text", pa.string()),
    ]
)


@dataclass(frozen=True)
class Column:
    """One column of the alert table."""

    name: str
    type: pa.DataType
    unit: str
    ucd: str
    description: str
    lsst: str = ""
    ztf: str = ""

    @property
    def scalar(self) -> bool:
        """True unless a value is a list."""
        return not pa.types.is_list(self.type)


_F32, _F64, _I32, _I64 = pa.float32(), pa.float64(), pa.int32(), pa.int64()
_S, _B = pa.string(), pa.bool_()

COLUMNS: Final[tuple[Column, ...]] = (
    # What it is.
    Column("survey", _S, "", "meta.id;instr", "`lsst` or `ztf`."),
    Column("alert_id", _I64, "", "meta.id;meta.main", "The survey's number of the alert; with `survey` unique.", "diaSourceId (alertId before 8.0)", "candid"),
    Column("object_id", _S, "", "meta.id;src", "The survey's name of the object; null where it belongs to none.", "diaObjectId", "objectId"),
    Column("ss_object_id", _S, "", "meta.id;src", "The solar system object it was found to be.", "ssObjectId", "ssnamenr within 5 arcsec"),
    # Where and when.
    Column("ra", _F64, "deg", "pos.eq.ra;meta.main", "Right ascension, ICRS.", "ra", "ra"),
    Column("dec", _F64, "deg", "pos.eq.dec;meta.main", "Declination, ICRS.", "dec (decl before 5.0)", "dec"),
    Column("healpix", _I64, "", "pos.healpix", "Nested HEALPix cell of order 29."),
    Column("gal_l", _F64, "deg", "pos.galactic.lon", "Galactic longitude."),
    Column("gal_b", _F64, "deg", "pos.galactic.lat", "Galactic latitude."),
    Column("mjd", _F64, "d", "time.epoch;obs", "Middle of the exposure, MJD, TAI.", "midpointMjdTai (midPointTai before 5.0)", "jd (start, UTC) + exptime / 2"),
    Column("night", _I32, "", "time.epoch;obs", "Date of the evening at the telescope, as yyyymmdd."),
    Column("band", _S, "", "instr.bandpass", "One of u g r i z y.", "band (filterName before 5.0)", "fid"),
    # How bright.
    Column("flux", _F32, "nJy", "phot.flux.density;arith.diff", "Difference flux, point source.", "psfFlux (psFlux before 5.0)", "from magpsf and isdiffpos"),
    Column("flux_err", _F32, "nJy", "stat.error;phot.flux.density", "Its uncertainty.", "psfFluxErr (psFluxErr before 5.0)", "from sigmapsf"),
    Column("mag", _F32, "mag", "phot.mag;arith.diff", "AB magnitude of the absolute value of `flux`; null where that is 0.", "from psfFlux", "magpsf"),
    Column("mag_err", _F32, "mag", "stat.error;phot.mag", "Its uncertainty.", "from psfFluxErr", "sigmapsf"),
    Column("is_positive", _B, "", "meta.code", "Brighter than in the template.", "psfFlux > 0", "isdiffpos"),
    Column("snr", _F32, "", "stat.snr", "Signal to noise of the detection.", "snr", "1.0857 / sigmapsf"),
    Column("science_flux", _F32, "nJy", "phot.flux.density", "Flux in the science image at this place.", "scienceFlux (totFlux before 6.0)", ""),
    Column("mag_limit", _F32, "mag", "phot.mag;stat.min", "Magnitude of a 5-sigma detection in this image.", "", "diffmaglim"),
    # How trustworthy.
    Column("reliability", _F32, "", "stat.probability", "Probability of being real and no artefact: the survey's best score, 0 to 1.", "reliability", "drb, else rb"),
    Column("rb", _F32, "", "stat.probability", "ZTF's real-bogus score, random forest.", "", "rb"),
    Column("drb", _F32, "", "stat.probability", "ZTF's real-bogus score, deep learning.", "", "drb"),
    Column("extendedness", _F32, "", "src.class.starGalaxy", "0: a point source, 1: extended.", "extendedness", "1 - classtar"),
    Column("is_dipole", _B, "", "meta.code", "Fitted better by a dipole: a sign of bad subtraction.", "isDipole", ""),
    Column("has_flags", _B, "", "meta.code.qual", "Bad, saturated, edge or otherwise marked pixels.", "pixelFlags_bad, _edge, _saturatedCenter, _cr; in 3.0 to 5.0 flags", "nbad > 0"),
    Column("fwhm", _F32, "pixel", "phys.angSize;instr.det.psf", "Full width at half maximum.", "", "fwhm"),
    # What the survey knows to be near.
    Column("sg_score", _F32, "", "src.class.starGalaxy", "Star-galaxy score of the nearest PS1 source; 1: a star.", "", "sgscore1"),
    Column("sg_distance", _F32, "arcsec", "pos.angDistance", "Distance to it.", "", "distpsnr1"),
    Column("ref_mag", _F32, "mag", "phot.mag", "Magnitude of the nearest source in the reference image.", "", "magnr"),
    Column("ref_distance", _F32, "arcsec", "pos.angDistance", "Distance to it.", "", "distnr in pixels of 1.01 arcsec"),
    Column("ss_distance", _F32, "arcsec", "pos.angDistance", "Distance to the nearest known solar system object.", "ssSource.ephOffset", "ssdistnr"),
    Column("ss_mag", _F32, "mag", "phot.mag", "Its predicted magnitude.", "ssSource.ephVmag", "ssmagnr"),
    Column("survey_detections", _I32, "", "meta.number", "Detections of the object in the whole survey, by its own count.", "diaObject.nDiaSources", "ndethist"),
    # The object's history in the packet. The alert itself is its last point.
    Column("n_history", _I32, "", "meta.number;obs", "Detections in the packet, this one included."),
    Column("n_forced", _I32, "", "meta.number;obs", "Forced measurements in the packet."),
    Column("nights", _I32, "", "meta.number;obs", "Nights with a detection in the packet, this one included."),
    Column("first_mjd", _F64, "d", "time.epoch;stat.min", "First detection known: the survey's word, else the packet's.", "diaObject.firstDiaSourceMjdTai", "jdstarthist"),
    Column("last_mjd", _F64, "d", "time.epoch", "Detection before this one in the packet; null for the first."),
    Column("age", _F64, "d", "time.duration", "From `first_mjd` to this detection."),
    Column("history_mjd", pa.list_(_F64), "d", "time.epoch;obs", "Times of `history_flux`, rising."),
    Column("history_band", pa.list_(_S), "", "instr.bandpass", "Bands of `history_flux`."),
    Column("history_flux", pa.list_(_F32), "nJy", "phot.flux.density;arith.diff", "Difference fluxes, forced ones among them."),
    Column("history_flux_err", pa.list_(_F32), "nJy", "stat.error;phot.flux.density", "Their uncertainties."),
    Column("history_forced", pa.list_(_B), "", "meta.code", "True: measured at the object's place whether detected or not."),
    # Light-curve features, from detections in the alert's own band and with its sign, until it: as defined for `light-curve` (Malanchev et al. 2021).
    Column("lc_n", _I32, "", "meta.number;obs", "Detections in this band, this one included. Features with too few are null."),
    Column("lc_mag_mean", _F32, "mag", "phot.mag;stat.mean", "Mean magnitude."),
    Column("lc_mag_std", _F32, "mag", "stat.stdev;phot.mag", "Standard deviation; of 2 or more."),
    Column("lc_mag_min", _F32, "mag", "phot.mag;stat.min", "Brightest."),
    Column("lc_mag_max", _F32, "mag", "phot.mag;stat.max", "Faintest."),
    Column("lc_amplitude", _F32, "mag", "src.var.amplitude", "Half of faintest minus brightest."),
    Column("lc_slope", _F32, "mag/d", "src.var", "Slope of a straight line through the magnitudes; negative: brightens. Of 2 or more times."),
    Column("lc_last_rate", _F32, "mag/d", "src.var", "Slope between the last two detections."),
    Column("lc_max_slope", _F32, "mag/d", "src.var;stat.max", "Greatest absolute slope between neighbours."),
    Column("lc_chi2", _F32, "", "stat.fit.chi2", "Reduced chi square of a constant magnitude; of 2 or more."),
    Column("lc_skew", _F32, "", "stat.asymmetry", "Skewness of magnitudes; of 3 or more."),
    Column("lc_stetson_k", _F32, "", "src.var", "Stetson K: 0.798 for Gaussian noise, 0.9 for a sinusoid; of 2 or more."),
    Column("lc_eta", _F32, "", "src.var", "Von Neumann eta: mean square of successive differences over variance; of 2 or more."),
    Column("lc_color_gr", _F32, "mag", "phot.color", "Newest g minus newest r, if within 1 day of each other."),
    # Cross-match with the operator's catalogues, within each one's radius.
    Column("xmatch", pa.list_(_XMATCH), "", "meta.id.cross", "The nearest source in each catalogue: catalog, id, distance (arcsec), kind, mag, redshift."),
    Column("xmatch_catalog", _S, "", "meta.id;meta.table", "Catalogue of the nearest of them all."),
    Column("xmatch_id", _S, "", "meta.id.cross", "Its identifier there."),
    Column("xmatch_distance", _F32, "arcsec", "pos.angDistance", "Distance to it."),
    Column("xmatch_kind", _S, "", "src.class", "What the catalogue says it is."),
    Column("xmatch_mag", _F32, "mag", "phot.mag", "Its magnitude."),
    Column("xmatch_redshift", _F32, "", "src.redshift", "Its redshift."),
    # What users' annotators said. An alert that came back through one passes the filters again.
    Column("annotations", pa.list_(_ANNOTATION), "", "meta.note", "All so far: annotator, label, score, text."),
    Column("annotated_by", _S, "", "meta.id", "The annotator that sent the alert through the filters again; null the first time."),
    # Where it came from.
    Column("schema_version", _S, "", "meta.version", "Version of the packet's schema, as `11.1` or `4.02`."),
    Column("received", pa.timestamp("ms", "UTC"), "", "time.epoch", "When it came in, UTC. The ledger's hours are of this."),
    Column("source", _S, "", "meta.id", "Where outside: name:topic:partition:offset, or the file's name."),
    Column("kafka_topic", _S, "", "meta.id", "Topic of the packet here: alerts.raw."),
    Column("kafka_partition", _I32, "", "meta.id", "Its partition."),
    Column("kafka_offset", _I64, "", "meta.id", "Its offset: with the partition it names the one received packet."),
)  # fmt: skip

BY_NAME: Final[dict[str, Column]] = {column.name: column for column in COLUMNS}

SCHEMA: Final[pa.Schema] = pa.schema(
    [pa.field(column.name, column.type) for column in COLUMNS],
    metadata={"armillary_alert_table": str(VERSION)},
)

#: What a filter sends when it names no columns: all that are single values.
SCALARS: Final[tuple[str, ...]] = tuple(column.name for column in COLUMNS if column.scalar)


def empty() -> pa.RecordBatch:
    """Return an alert table without rows."""
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in SCHEMA], schema=SCHEMA)


def describe() -> str:
    """Return the table's documentation as Markdown: what docs/reference/alert-table.md is made of."""
    lines = [
        "| Column | Type | Unit | UCD | LSST | ZTF | What it is |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in COLUMNS:
        kind = str(each.type).replace("list<item: ", "list<").replace("|", "\\|")
        if each.name in ("xmatch", "annotations"):
            kind = "list of records"
        lines.append(
            f"| `{each.name}` | {kind} | {each.unit} | {each.ucd} | {each.lsst} | {each.ztf} | {each.description} |"
        )  # fmt: skip
    return "\n".join(lines) + "\n"
