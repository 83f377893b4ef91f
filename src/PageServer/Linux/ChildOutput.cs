using Microsoft.Win32.SafeHandles;

namespace PostCopy.Linux;

/// <summary>
/// A file for what a long-running child prints. A file and not a pipe: what the child starts keeps it open, and nobody must have to read it.
/// </summary>
internal sealed class ChildOutput : IDisposable
{
    private const int ShownBytes = 4096;
    private readonly SafeFileHandle _file;

    internal ChildOutput(string path)
    {
        Path = path;
        _file = File.OpenHandle(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.ReadWrite, FileOptions.None);
    }

    /// <summary>Where it is written.</summary>
    internal string Path { get; }

    /// <summary>Standard output and error of the child.</summary>
    internal IReadOnlyList<ChildDescriptor> Descriptors
    {
        get
        {
            int fd = (int)_file.DangerousGetHandle();
            return [new ChildDescriptor(fd, 1), new ChildDescriptor(fd, 2)];
        }
    }

    /// <summary>The last line that says anything; empty when the child printed nothing.</summary>
    internal string LastLine
    {
        get
        {
            long length = RandomAccess.GetLength(_file);
            byte[] tail = new byte[Math.Min(length, ShownBytes)];
            int read = RandomAccess.Read(_file, tail, length - tail.Length);
            return System.Text.Encoding.UTF8.GetString(tail, 0, read).TrimEnd().Split('\n')[^1];
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();
}
