using Microsoft.Win32.SafeHandles;

namespace PostCopy.Linux;

/// <summary>CRIU's sign that it is ready: one zero byte on an inherited descriptor (<c>--status-fd</c>), which is then closed.</summary>
public static class StatusByte
{
    /// <summary>Writes it and closes the descriptor. Throws <see cref="IOException"/> when nobody can read it.</summary>
    public static void Write(int descriptor)
    {
        using SafeFileHandle handle = new(descriptor, ownsHandle: true);
        using FileStream status = new(handle, FileAccess.Write, bufferSize: 0);
        status.WriteByte(0);
    }
}
