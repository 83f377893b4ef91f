using CsCheck;
using PostCopy.Images;
using static PostCopy.Tests.Images.SyntheticImages;

namespace PostCopy.Tests.Images;

/// <summary>Damaged images end in <see cref="ImageFormatException"/> or in success; never in another exception, and never in memory out of proportion.</summary>
[Collection(RealImagesCollection.Name)]
public sealed class HostileImagesTests(RealImages real)
{
    /// <summary>The images hold a few kilobytes; what is read of them may not take more than this.</summary>
    private const long MaxAllocatedBytes = 4 * 1024 * 1024;

    [Fact]
    public void Synthetic_images_truncated_at_every_byte()
    {
        using var images = new SyntheticImages();
        TruncateEverywhere(images.Path);
    }

    [SkippableFact]
    public void Real_images_truncated_at_every_byte()
    {
        Skip.If(real.SkipReason is not null, real.SkipReason);
        using var copy = new ImageCopy(real.Lazy);
        TruncateEverywhere(copy.Path);
    }

    [SkippableFact]
    public void Real_images_with_random_bytes_changed()
    {
        Skip.If(real.SkipReason is not null, real.SkipReason);
        using var copy = new ImageCopy(real.Lazy);
        (string Path, byte[] Bytes)[] files = [.. ParsedFiles(copy.Path).Select(path => (path, File.ReadAllBytes(path)))];

        int refused = 0;
        // CsCheck prints the seed of a failure.
        Gen.Int[0, files.Length - 1].SelectMany(file =>
                Gen.Select(Gen.Int[0, files[file].Bytes.Length - 1], Gen.Byte).Array[1, 8].Select(changes => (file, changes)))
            .Sample(
                mutation =>
                {
                    (string path, byte[] original) = files[mutation.file];
                    byte[] bytes = [.. original];
                    foreach ((int offset, byte value) in mutation.changes)
                        bytes[offset] = value;
                    File.WriteAllBytes(path, bytes);
                    refused += ReadOrRefuse(copy.Path) ? 0 : 1;
                    File.WriteAllBytes(path, original);
                },
                iter: 2000,
                threads: 1);

        Assert.NotEqual(0, refused);
        Assert.True(ReadOrRefuse(copy.Path));
    }

    [Theory]
    [InlineData(uint.MaxValue)]
    [InlineData(0x7fff_ffffu)]
    [InlineData(100_000_000u)]
    public void An_entry_that_claims_more_than_the_file_holds_is_refused_before_memory_is_taken(uint size)
    {
        using var images = new SyntheticImages();
        foreach (string path in ParsedFiles(images.Path))
        {
            byte[] original = File.ReadAllBytes(path);
            byte[] bytes = [.. original];
            BitConverter.TryWriteBytes(bytes.AsSpan(path.EndsWith("inventory.img", StringComparison.Ordinal) ? 4 : 8), size);
            File.WriteAllBytes(path, bytes);
            Assert.False(ReadOrRefuse(images.Path), path);
            File.WriteAllBytes(path, original);
        }
    }

    [Fact]
    public void A_vma_count_without_vmas_is_refused_before_it_becomes_objects()
    {
        using var images = new SyntheticImages();
        images.Vmas([.. Enumerable.Range(0, 200_000).Select(_ => new ProtoWriter())]);

        Assert.False(ReadOrRefuse(images.Path));
    }

    [Fact]
    public void What_is_no_regular_file_is_not_opened()
    {
        using var images = new SyntheticImages();
        string path = Path.Join(images.Path, "pstree.img");
        File.Delete(path);
        Assert.Equal(0, Mono.Unix.Native.Syscall.mkfifo(path, Mono.Unix.Native.FilePermissions.S_IRUSR));
        images.Refused("pstree.img");

        File.Delete(path);
        Directory.CreateDirectory(path);
        images.Refused("pstree.img");
    }

    [Fact]
    public void A_wrong_magic_is_named()
    {
        using var images = new SyntheticImages();
        images.File("pstree.img", CoreMagic, Task(1, 0));

        Assert.Contains("magic 55053847", images.Refused("pstree.img").Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_directory_without_images_is_named()
    {
        ImageFormatException e = Assert.Throws<ImageFormatException>(() => ImageInspector.Inspect("/proc"));

        Assert.Equal("/proc: not a directory of CRIU images: there is no inventory.img in it", e.Message);
    }

    private static void TruncateEverywhere(string directory)
    {
        Assert.True(ReadOrRefuse(directory));
        foreach (string path in ParsedFiles(directory))
        {
            byte[] original = File.ReadAllBytes(path);
            using (FileStream file = new(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
            {
                for (int length = original.Length - 1; length >= 0; length--)
                {
                    file.SetLength(length);
                    bool accepted = ReadOrRefuse(directory);
                    // pstree and pagemaps are lists without an end mark: what is left between two entries is a shorter, valid list.
                    bool isList = Path.GetFileName(path).StartsWith('p');
                    Assert.True(!accepted || isList, $"{path} was accepted when cut to {length} bytes");
                }
            }

            File.WriteAllBytes(path, original);
        }
    }

    private static bool ReadOrRefuse(string directory)
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        bool accepted = true;
        try
        {
            OwedMemory.From(ImageDirectory.Open(directory));
            ImageInspector.Inspect(directory);
        }
        catch (ImageFormatException)
        {
            accepted = false;
        }

        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, MaxAllocatedBytes);
        return accepted;
    }

    private static string[] ParsedFiles(string directory)
    {
        IReadOnlyList<ImageProcess> processes = ImageDirectory.Open(directory).Processes;
        IEnumerable<string> names =
        [
            "inventory.img",
            "pstree.img",
            $"ids-{processes[0].Pid}.img",
            .. processes.Select(process => $"core-{process.Pid}.img"),
            .. processes.Where(process => process.IsLive).SelectMany(process => new[] { $"mm-{process.Pid}.img", $"pagemap-{process.Pid}.img" }),
        ];
        return [.. names.Select(name => Path.Join(directory, name)), .. Directory.GetFiles(directory, "pagemap-shmem-*.img")];
    }
}
