using System.Text;
using PostCopy.Agent;
using PostCopy.Certificates;
using PostCopy.Control.Messages;
using PostCopy.Criu;
using PostCopy.HandOff;
using PostCopy.Images;
using PostCopy.Restore;
using PostCopy.Tests.Images;
using PostCopy.Tests.Testing;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Tests.Fuzz;

/// <summary>Readers of files, links and FIFOs.</summary>
internal static class FileTargets
{
    private static readonly string Scratch = Directory.CreateTempSubdirectory("postcopy-fuzz-").FullName;
    private static readonly SyntheticImages Images = new();
    private static readonly TlsHosts Hosts = new();
    private static readonly TlsFiles Tls = Hosts.Issue("fuzz.example");
    private static int _count;

    public static IEnumerable<FuzzTarget> All =>
    [
        .. Directory.GetFiles(Images.Path).Select(static path => new FuzzTarget(
            $"image {Path.GetFileName(path)}", [File.ReadAllBytes(path)], bytes => ReadImages(path, bytes), typeof(ImageFormatException))),
        new("image names", FuzzTargets.Texts("pages-1.img", "descriptors.json", "core-1.img"), ReceiveImage, typeof(ProtocolException)),
        new("bundle path", FuzzTargets.Texts("/good", "/good/./", "//good", "/link"), ReadBundle, typeof(InvalidDataException)),
        new("record", FuzzTargets.Texts("handed-off", "cancelled", "may-run"), ReadRecord, typeof(IOException), typeof(InvalidDataException)),
        new("hook events", FuzzTargets.Texts("pre-dump 17\n", "post-dump 17\n", "pre-dump 1\nnetwork-lock 1\npost-dump 1\n"), ReadEvents, typeof(InvalidDataException)),
        new("CRIU log", FuzzTargets.Texts("(00.1) 42: Error (criu/x.c:1): inet: no\n(00.2) Error (criu/cr-restore.c:2): Restoring FAILED.\n"), ReadLog, typeof(InvalidDataException)),
        new("token", FuzzTargets.Texts("0123456789abcdef0123456789abcdef\n"), ReadToken, typeof(AgentTokenException)),
        new("certificate", [File.ReadAllBytes(Tls.Certificate)], static bytes => ReadTls(bytes, static file => Tls with { Certificate = file }), typeof(CertificateException)),
        new("authority", [File.ReadAllBytes(Tls.Authority)], static bytes => ReadTls(bytes, static file => Tls with { Authority = file }), typeof(CertificateException)),
        new("key", [File.ReadAllBytes(Tls.Key)], static bytes => ReadTls(bytes, static file => Tls with { Key = file }), typeof(CertificateException)),
    ];

    public static void CleanUp()
    {
        Directory.Delete(Scratch, recursive: true);
        Images.Dispose();
        Hosts.Dispose();
    }

    private static string NewPath => Path.Combine(Scratch, $"{Interlocked.Increment(ref _count)}");

    private static void ReadImages(string path, byte[] bytes)
    {
        byte[] original = File.ReadAllBytes(path);
        try
        {
            File.WriteAllBytes(path, bytes);
            OwedMemory.From(ImageDirectory.Open(Images.Path));
            ImageInspector.Inspect(Images.Path);
        }
        finally
        {
            File.WriteAllBytes(path, original);
        }
    }

    private static void ReceiveImage(byte[] name)
    {
        string directory = Directory.CreateDirectory(NewPath).FullName;
        int outside = Directory.GetFileSystemEntries(Scratch).Length;
        using (ImageInbox inbox = new(directory))
        {
            inbox.Write(new ImageChunk { Name = FuzzTargets.Text(name) });
        }

        Assert.Single(Directory.GetFiles(directory));
        Assert.Equal(outside, Directory.GetFileSystemEntries(Scratch).Length);
        Directory.Delete(directory, recursive: true);
    }

    private static void ReadBundle(byte[] bytes)
    {
        string root = Path.Combine(Scratch, "bundles");
        if (!Directory.Exists(root))
        {
            foreach (string bundle in (string[])["bundles/good", "outside"])
            {
                File.WriteAllText(Path.Combine(Directory.CreateDirectory(Path.Combine(Scratch, bundle)).FullName, "config.json"), "{}");
            }

            File.CreateSymbolicLink(Path.Combine(root, "link"), "good/../good");
            File.CreateSymbolicLink(Path.Combine(root, "out"), "../outside");
            File.CreateSymbolicLink(Path.Combine(root, "loop"), "loop");
        }

        string path = root + FuzzTargets.Text(bytes);
        if (BundlePath.Refusal(path, root) is { } refusal)
        {
            throw new InvalidDataException(refusal);
        }

        // What was allowed is the bundle that is below the root, however it was spelt.
        string target = Path.Combine(path, "config.json");
        Assert.StartsWith(root + "/good/", Path.GetFullPath(target.Replace("/link", "/good", StringComparison.Ordinal)));
    }

    private static void ReadRecord(byte[] bytes)
    {
        string word = FuzzTargets.Text(bytes);
        WriteOnceRecord record = new(NewPath);
        if (word.Length is 0 or > 4000 || word.Contains('\0', StringComparison.Ordinal))
        {
            throw new InvalidDataException("symlink(2) would not take it either");
        }

        File.CreateSymbolicLink(record.Path, word);
        try
        {
            string? first = record.Read();
            Assert.NotNull(first);
            Assert.Equal(first, record.Write("may-run")); // Whatever the damage spelt, the first word stays.
        }
        finally
        {
            File.Delete(record.Path);
        }
    }

    private static void ReadEvents(byte[] bytes)
    {
        string directory = Directory.CreateDirectory(NewPath).FullName;
        List<CriuStep> steps = [];
        using (CriuHook hook = new(directory))
        {
            using (FileStream events = new(Path.Combine(directory, "events"), FileMode.Open, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0))
            {
                events.Write(bytes.AsSpan(0, Math.Min(bytes.Length, 4096)));
            }
        }

        Directory.Delete(directory, recursive: true);
        if (!Encoding.UTF8.GetString(bytes).EndsWith('\n'))
        {
            throw new InvalidDataException("half a line at the end");
        }
    }

    private static void ReadLog(byte[] bytes)
    {
        string path = NewPath;
        File.WriteAllBytes(path, bytes);
        bool explained = CriuLog.FirstError(path) is not null;
        bool failed = CriuLog.SaysRestoreFailed(path);
        File.Delete(path);
        if (!explained || !failed)
        {
            throw new InvalidDataException("it says less than it did");
        }
    }

    private static void ReadToken(byte[] bytes)
    {
        string path = NewPath;
        File.WriteAllBytes(path, bytes);
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        try
        {
            AgentToken.Load(path).Sign([1]);
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static void ReadTls(byte[] bytes, Func<string, TlsFiles> files)
    {
        string path = NewPath;
        File.WriteAllBytes(path, bytes);
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        try
        {
            TlsIdentity.Load(files(path));
        }
        finally
        {
            File.Delete(path);
        }
    }
}
