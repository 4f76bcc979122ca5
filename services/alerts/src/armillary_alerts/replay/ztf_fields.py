"""The fields of a ZTF alert packet, version 4.02: names and types, after the published description.

The schema's own files have no licence, so they are not here; what follows says the same of the bytes. Letters: i int, l long, f
float, d double, s string; a capital one may be null.
"""

from __future__ import annotations

from typing import Any, Final

_TYPES: Final = {"i": "int", "l": "long", "f": "float", "d": "double", "s": "string"}

CANDIDATE: Final = (
    "jd:d fid:i pid:l diffmaglim:F pdiffimfilename:S programpi:S programid:i candid:l isdiffpos:s tblid:L nid:I rcid:I "
    "field:I xpos:F ypos:F ra:d dec:d magpsf:f sigmapsf:f chipsf:F magap:F sigmagap:F distnr:F magnr:F sigmagnr:F chinr:F "
    "sharpnr:F sky:F magdiff:F fwhm:F classtar:F mindtoedge:F magfromlim:F seeratio:F aimage:F bimage:F aimagerat:F "
    "bimagerat:F elong:F nneg:I nbad:I rb:F ssdistnr:F ssmagnr:F ssnamenr:S sumrat:F magapbig:F sigmagapbig:F ranr:d "
    "decnr:d sgmag1:F srmag1:F simag1:F szmag1:F sgscore1:F distpsnr1:F ndethist:i ncovhist:i jdstarthist:D jdendhist:D "
    "scorr:D tooflag:I objectidps1:L objectidps2:L sgmag2:F srmag2:F simag2:F szmag2:F sgscore2:F distpsnr2:F "
    "objectidps3:L sgmag3:F srmag3:F simag3:F szmag3:F sgscore3:F distpsnr3:F nmtchps:i rfid:l jdstartref:d jdendref:d "
    "nframesref:i rbversion:s dsnrms:F ssnrms:F dsdiff:F magzpsci:F magzpsciunc:F magzpscirms:F nmatches:i clrcoeff:F "
    "clrcounc:F zpclrcov:F zpmed:F clrmed:F clrrms:F neargaia:F neargaiabright:F maggaia:F maggaiabright:F exptime:F "
    "drb:F drbversion:s"
)  # fmt: skip
PREVIOUS: Final = (
    "jd:d fid:i pid:l diffmaglim:F pdiffimfilename:S programpi:S programid:i candid:L isdiffpos:S tblid:L nid:I rcid:I "
    "field:I xpos:F ypos:F ra:D dec:D magpsf:F sigmapsf:F chipsf:F magap:F sigmagap:F distnr:F magnr:F sigmagnr:F chinr:F "
    "sharpnr:F sky:F magdiff:F fwhm:F classtar:F mindtoedge:F magfromlim:F seeratio:F aimage:F bimage:F aimagerat:F "
    "bimagerat:F elong:F nneg:I nbad:I rb:F ssdistnr:F ssmagnr:F ssnamenr:S sumrat:F magapbig:F sigmagapbig:F ranr:D "
    "decnr:D scorr:D magzpsci:F magzpsciunc:F magzpscirms:F clrcoeff:F clrcounc:F rbversion:S"
)  # fmt: skip
FORCED: Final = (
    "field:I rcid:I fid:i pid:l rfid:l sciinpseeing:F scibckgnd:F scisigpix:F magzpsci:F magzpsciunc:F magzpscirms:F "
    "clrcoeff:F clrcounc:F exptime:F adpctdif1:F adpctdif2:F diffmaglim:F programid:i jd:d forcediffimflux:F "
    "forcediffimfluxunc:F procstatus:S distnr:F ranr:d decnr:d magnr:F sigmagnr:F chinr:F sharpnr:F"
)  # fmt: skip

#: What the survey writes first in a union, null or the value, has no bearing on names; both orders are in use.
VERSION: Final = "4.02"


def fields(text: str) -> list[dict[str, Any]]:
    """Return Avro fields."""
    out: list[dict[str, Any]] = []
    for part in text.split():
        name, kind = part.split(":")
        avro = _TYPES[kind.lower()]
        if kind.isupper():
            out.append({"name": name, "type": [avro, "null"], "default": None})
        else:
            out.append({"name": name, "type": avro})
    return out


def schema() -> dict[str, Any]:
    """Return the Avro schema of a packet."""

    def record(name: str, text: str) -> dict[str, Any]:
        return {"type": "record", "name": name, "namespace": "ztf.alert", "fields": fields(text)}

    cutout = {
        "type": "record",
        "name": "cutout",
        "namespace": "ztf.alert",
        "fields": [
            {"name": "fileName", "type": "string"},
            {"name": "stampData", "type": "bytes"},
        ],
    }

    def maybe(kind: Any) -> list[Any]:
        return [kind, "null"]

    return {
        "type": "record",
        "name": "alert",
        "namespace": "ztf",
        "fields": [
            {"name": "schemavsn", "type": "string"},
            {"name": "publisher", "type": "string"},
            {"name": "objectId", "type": "string"},
            {"name": "candid", "type": "long"},
            {"name": "candidate", "type": record("candidate", CANDIDATE)},
            {
                "name": "prv_candidates",
                "type": maybe({"type": "array", "items": record("prv_candidate", PREVIOUS)}),
                "default": None,
            },
            {
                "name": "fp_hists",
                "type": maybe({"type": "array", "items": record("fp_hist", FORCED)}),
                "default": None,
            },
            {"name": "cutoutScience", "type": maybe(cutout), "default": None},
            {"name": "cutoutTemplate", "type": maybe("ztf.alert.cutout"), "default": None},
            {"name": "cutoutDifference", "type": maybe("ztf.alert.cutout"), "default": None},
        ],
    }
