using System.Text.Json;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Images;

/// <summary>What <c>postcopy inspect</c> prints, word by word, of images written by hand.</summary>
public sealed class InspectTextTests : IDisposable
{
    private const uint FilePrivate = 0x41;
    private const uint Vdso = 0x9;
    private const uint AnonymousPrivateFlags = SyntheticImages.PrivateAnonymous;
    private const uint LockedFlags = AnonymousPrivateFlags | 0x2000;
    private const uint Present = 4, LazyAndPresent = 6, Lazy = 2, Parent = 1;

    private readonly SyntheticImages _images = new();
    private readonly string _parent = Directory.CreateTempSubdirectory("postcopy-images-parent-").FullName;

    public InspectTextTests()
    {
        _images.Tree(SyntheticImages.Task(1, 0), SyntheticImages.Task(20, 1), SyntheticImages.Task(21, 20), SyntheticImages.Task(30, 1));
        _images.Core(1, state: 1, "init");
        foreach (int zombie in (int[])[20, 21, 30])
        {
            _images.Core(zombie, state: 2, $"worker-{zombie}");
        }

        _images.Vmas(
            SyntheticImages.Vma(0, 1024),
            SyntheticImages.Vma(1024, 16, LockedFlags),
            SyntheticImages.Vma(1040, 4, 2, FilePrivate),
            SyntheticImages.Vma(1044, 2, AnonymousPrivateFlags, Vdso));
        _images.File("pagemap-shmem-7.img", SyntheticImages.PagemapMagic, new ProtoWriter().Number(1, 2), SyntheticImages.Entry(0, 3, Present));
    }

    [SkippableFact]
    public async Task A_lazy_dump()
    {
        Pagemap(
            SyntheticImages.Entry(0, 512, Lazy), SyntheticImages.Entry(600, 1, Present), SyntheticImages.Entry(1024, 16, Present),
            SyntheticImages.Entry(1040, 2, Present), SyntheticImages.Entry(1044, 2, Present));
        Assert.Equal(
            """
            CRIU images in IMAGES
              format 2, run id e574bd99-df18-4a42-a368-c13f1b685af1
              network: the host's, locked with nftables

            PROCESS                            STATE    THREADS        LAZY       EAGER      PARENT        ZERO
            1 init                             alive          1       2 MiB      84 KiB           -       2 MiB
            ├─ 20 worker-20                    zombie         1           -           -           -           -
            │  └─ 21 worker-21                 zombie         1           -           -           -           -
            └─ 30 worker-30                    zombie         1           -           -           -           -

            WHY MEMORY IS EAGER                           PAGES        SIZE  BECAUSE
            locked memory (mlock)                            16      64 KiB  mlock promises that no access waits
            shared memory                                     3      12 KiB  CRIU makes it once for all who share it
            written pages of private files                    2       8 KiB  userfaultfd takes anonymous memory alone
            vDSO                                              2       8 KiB  the destination's kernel brings its own
            kept back for a stack pointer                     1       4 KiB  the restore itself runs on it

            Travels lazily, after the restore: 2 MiB (512 pages)
            """,
            (await InspectAsync()).Split("\nTravels during")[0]);
    }

    [SkippableFact]
    public async Task A_plain_dump_that_goes_on_from_parents()
    {
        Pagemap(SyntheticImages.Entry(0, 256, LazyAndPresent), SyntheticImages.Entry(256, 768, Parent));
        File.CreateSymbolicLink(Path.Combine(_images.Path, "parent"), Path.GetRelativePath(_images.Path, _parent));
        // A chain that bites its tail is shown once.
        File.CreateSymbolicLink(Path.Combine(_parent, "parent"), "../" + Path.GetFileName(_parent));
        string text = await InspectAsync();
        Assert.Contains($"\n  parent images: {_parent}\n\n", text, StringComparison.Ordinal);
        Assert.Contains(
            """
            1 init                             alive          1       1 MiB           -       3 MiB           -
            """,
            text,
            StringComparison.Ordinal);
        Assert.Contains(
            """
            Travels lazily, after the restore: 1 MiB (256 pages)
              of which in these images as well: 1 MiB (not a lazy dump)
            Travelled before, as parent images: 3 MiB (768 pages), restored before the start
            Travels during the freeze: 
            """,
            text,
            StringComparison.Ordinal);
    }

    [SkippableFact]
    public async Task For_programs()
    {
        Pagemap(SyntheticImages.Entry(0, 256, Lazy), SyntheticImages.Entry(256, 8, Parent), SyntheticImages.Entry(600, 1, Present));
        using JsonDocument json = JsonDocument.Parse(await InspectAsync("--json"));
        JsonElement memory = json.RootElement.GetProperty("memory");
        Assert.Equal(256, memory.GetProperty("lazy").GetProperty("pages").GetInt64());
        Assert.Equal(8, memory.GetProperty("parent").GetProperty("pages").GetInt64());
        Assert.Equal(1024 - 256 - 8 - 1, memory.GetProperty("zero").GetProperty("pages").GetInt64());
        Assert.Equal(4, json.RootElement.GetProperty("processes").GetArrayLength());
        Assert.Contains("stack-pointer", memory.GetProperty("eagerByReason").EnumerateArray().Select(static part => part.GetProperty("reason").GetString()));
    }

    public void Dispose()
    {
        _images.Dispose();
        Directory.Delete(_parent, recursive: true);
    }

    private void Pagemap(params ProtoWriter[] entries) => _images.Pagemap(entries);

    private async Task<string> InspectAsync(params string[] options)
    {
        Skip.IfNot(File.Exists(Repository.PostCopy), $"needs {Repository.PostCopy}: eng/build.sh makes it");
        CommandResult result = await RunningCommand.RunAsync(TimeSpan.FromSeconds(30), Repository.PostCopy, ["inspect", _images.Path, .. options]);
        return result.EnsureSuccess().Output.Replace(_images.Path, "IMAGES", StringComparison.Ordinal);
    }
}
