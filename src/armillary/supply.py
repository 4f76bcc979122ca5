"""What a cluster is made of and where each piece comes from: built here, copied from its project, or out of a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from armillary.artifacts.build import BuiltArtifact, artifact_path, build_artifact
from armillary.artifacts.entry import Artifact
from armillary.bundle import contents
from armillary.files import write
from armillary.images import kept
from armillary.images.build import ImageError, build_image, image_path, read_manifests
from armillary.images.kept import BuiltImage
from armillary.images.manifest import Image
from armillary.mirror import binaries, lock
from armillary.mirror import images as mirrored
from armillary.mirror.images import Upstream
from armillary.models.parts import Images
from armillary.models.report import Check
from armillary.paths import ROOT, ClusterPaths, cache_home
from armillary.tools import skopeo
from armillary.tools.download import answers
from armillary.tools.process import CommandError, CommandMissing, CommandTimeout, tail

Say = Callable[[str], None]
ASK_SECONDS = 30.0


@dataclass
class Supply:
    """The binaries and images of one cluster."""

    wanted: Images
    lock: Path
    """mirror.lock.yml."""
    remembered: Path
    """What `auto` came to at the first `up`."""
    components: frozenset[str] = frozenset()
    """Those that the cluster has; artifacts of others are left out."""
    root: Path = ROOT

    @classmethod
    def of(
        cls,
        wanted: Images,
        config: Path,
        paths: ClusterPaths,
        components: frozenset[str] = frozenset(),
    ) -> Supply:
        """Return what a cluster is made of.

        Args:
            wanted: `images` of cluster.yml.
            config: cluster.yml.
            paths: the cluster's state directory.
            components: names of those that it has.
        """
        return cls(wanted, config.parent / lock.NAME, paths.images_source, components)

    @cached_property
    def cache(self) -> Path:
        return cache_home()

    @cached_property
    def bundled(self) -> bool:
        """Whether all is taken out of a bundle."""
        return contents.read(self.cache) is not None

    @cached_property
    def mirrors(self) -> bool:
        """Whether the platform's own pieces are taken from their projects where those publish them.

        With `auto` that is asked once, and remembered when a cluster is made: what answers today may not tomorrow, and
        a cluster is not made of other pieces for that.
        """
        if self.bundled or self.wanted.source == "build":
            return False
        if self.wanted.source == "mirror":
            return True
        if self.remembered.exists():
            return self.remembered.read_text().strip() == "mirror"
        return all(check.ok for check in self._places)

    def plan(self) -> list[str]:
        """Return, in lines a person reads, what is not in the cache yet."""
        known = lock.read(self.lock)
        lines = []
        for artifact in self._artifacts():
            if self._takes(artifact):
                key = binaries.key(artifact, known.files)
                there = key and artifact_path(artifact, cache=self.cache, key=key).exists()
                verb = "download"
            else:
                there = artifact_path(artifact, cache=self.cache, root=self.root).exists()
                verb = "build"
            if not there:
                lines.append(f"{verb} artifact {artifact.name} {artifact.version}")
        lines += [
            f"build image {image.name}"
            for image in self._built()
            if not image_path(image, cache=self.cache, root=self.root).exists()
        ]
        for one in self._copied():
            digest = one.pinned or known.images.get(one.reference)
            if self._from_bundle(one) or (digest and one.home(self.cache, digest).exists()):
                continue
            lines.append(f"copy image {one.reference}")
        return lines

    def choice(self) -> list[Check]:
        """Tell what `auto` comes to, and why; nothing where cluster.yml says it."""
        if self.wanted.source != "auto" or self.bundled:
            return []
        source = "mirror" if self.mirrors else "build"
        if self.remembered.exists():
            why = "so it was when the cluster was made"
        elif self.mirrors:
            why = "all places of the platform's projects answer"
        else:
            silent = [f"{one.name}: {one.detail}" for one in self._places if not one.ok]
            why = "\n".join(["not all places of the platform's projects answer", *silent])
        return [Check(name="images.source: auto", ok=True, note=f"{source}: {why}")]

    def checks(self) -> list[Check]:
        """Tell what `auto` comes to, and whether the registries and places answer that something is to be copied from."""
        if self.bundled:
            return []
        places = self._places if self.mirrors else []
        asked = {check.name for check in places}
        further = {
            one.registry: one.reference
            for one in (mirrored.further(each, every_platform=False) for each in self.wanted.mirror)
            if _registry(one.registry) not in asked
        }
        return [*self.choice(), *places, *_ask(further, {})]

    def remember(self) -> None:
        """Keep to what `auto` came to."""
        if self.wanted.source == "auto" and not self.bundled and not self.remembered.exists():
            write(self.remembered, f"{'mirror' if self.mirrors else 'build'}\n")

    def artifacts(self, say: Say = lambda line: None) -> list[BuiltArtifact]:
        """Return all binaries, having built or downloaded what is not in the cache.

        Raises:
            ArtifactError: one cannot be had; those before it are there.
        """
        return [self._artifact(entry, say) for entry in self._artifacts()]

    def artifact(self, name: str, say: Say = lambda line: None) -> BuiltArtifact:
        """Return one artifact's binaries.

        Raises:
            ArtifactError: it cannot be had.
        """
        return self._artifact(read_manifests(self.root)[1].get(name), say)

    def images(self, say: Say = lambda line: None) -> list[BuiltImage]:
        """Return all images, having built or copied what is not in the cache.

        Raises:
            ArtifactError, ImageError: one cannot be had; those before it are there.
        """
        built = [
            build_image(entry, cache=self.cache, root=self.root, progress=say)
            for entry in self._built()
        ]
        return built + [self._copy(one, say) for one in self._copied()]

    def _artifact(self, entry: Artifact, say: Say) -> BuiltArtifact:
        if not self._takes(entry):
            return build_artifact(entry, cache=self.cache, root=self.root, progress=say)
        sums = lock.read(self.lock).files
        if not binaries.key(entry, sums):
            say(f"{entry.name} {entry.version}: asking its project for checksums")
            published = binaries.published_sums(entry, self._place)
            # What was written down before counts.
            sums = lock.add(self.lock, files=published | binaries.known(entry, sums)).files
        key = binaries.key(entry, sums)
        assert key
        home = artifact_path(entry, cache=self.cache, key=key)
        return binaries.fetch(entry, home, sums, self._place, say)

    def _copy(self, image: Upstream, say: Say) -> BuiltImage:
        if self.bundled:
            home = self._from_bundle(image)
            found = kept.read(image.name, image.target, home) if home else None
            if found is None:
                raise ImageError(image.name, contents.LACKS, contents.LACKING)
            return found
        digest = image.pinned or lock.read(self.lock).images.get(image.reference)
        if digest is None:
            digest = mirrored.digest(image, say)
            lock.add(self.lock, images={image.reference: digest})
        return mirrored.copy(image, digest, self.cache, say)

    def _from_bundle(self, image: Upstream) -> Path | None:
        key = contents.key(self.cache, "images", image.folder)
        return self.cache / "images" / image.folder / key if key else None

    def _artifacts(self) -> list[Artifact]:
        """Return what the cluster needs; first what is only fetched: what cannot be had is told before long builds."""
        wanted = (None, *self.components)
        found = [one for one in read_manifests(self.root)[1].artifacts if one.component in wanted]
        return sorted(found, key=lambda one: one.kind == "go")

    def _takes(self, entry: Artifact) -> bool:
        return self.mirrors and entry.upstream is not None

    def _built(self) -> list[Image]:
        images, _ = read_manifests(self.root)
        return [each for each in images.images if not (self.mirrors and each.upstream)]

    def _copied(self) -> list[Upstream]:
        """Return the platform's images that are copied, and those that users asked for."""
        every = self.wanted.platforms == "all"
        images, _ = read_manifests(self.root)
        own = [
            Upstream(each.name, f"{each.upstream}:{each.tag}", each.reference, every)
            for each in images.images
            if self.mirrors and each.upstream
        ]
        return own + [mirrored.further(one, every_platform=every) for one in self.wanted.mirror]

    def _place(self, url: str) -> str:
        return binaries.placed(url, self.wanted.downloads)

    @cached_property
    def _places(self) -> list[Check]:
        """Whether the registries and places answer that the platform's own pieces can be had from."""
        images, artifacts = read_manifests(self.root)
        references: dict[str, str] = {}
        files: dict[str, str] = {}
        for image in images.images:
            if image.upstream:
                references[image.upstream.partition("/")[0]] = f"{image.upstream}:{image.tag}"
        for artifact in artifacts.artifacts:
            for url in map(self._place, binaries.urls(artifact)):
                files.setdefault(url.split("/")[2], url)
        return _ask(references, files)


def _ask(references: Mapping[str, str], files: Mapping[str, str]) -> list[Check]:
    """Ask each registry for an image, and each place for a file; all at once."""
    with ThreadPoolExecutor(max(1, len(references) + len(files))) as pool:
        return [
            *pool.map(lambda item: _ask_registry(*item), references.items()),
            *pool.map(lambda item: _ask_place(*item), files.items()),
        ]


def _registry(name: str) -> str:
    return f"registry {name}"


def _ask_registry(name: str, reference: str) -> Check:
    wrong = ""
    try:
        skopeo.digest(reference, timeout=ASK_SECONDS)
    except (CommandError, CommandTimeout) as error:
        wrong = tail(error.completed, 3)
    except CommandMissing as error:
        wrong = f"    {error}"
    return Check(
        name=_registry(name),
        ok=not wrong,
        detail=f"{reference} cannot be read:\n{wrong}",
    )


def _ask_place(name: str, url: str) -> Check:
    wrong = answers(url)
    return Check(
        name=f"downloads from {name}",
        ok=not wrong,
        detail=f"{url} cannot be read: {wrong}",
    )
